"""Strict reading of YAML and JSON: unclear, endless and oversized documents are rejected by file and line."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mot_core.io.documents import read_json, read_yaml

BOMB = "\n".join(
    ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: 1\nb:\n  c: 2\n  c: 3\n", r":4: expected each key once, got 'c' again after line 3", id="key"),
        pytest.param("a: 1\n'a': 1\n", r":2: expected each key once", id="quoted key"),
        pytest.param("d: {a: {x: 1}, a: 2}", r":1: expected each key once", id="key in a line"),
        pytest.param("x: 1\na: 010\n", r":2: expected an unambiguous value, got '010'.* base 8", id="octal"),
        pytest.param("a: [1, 1:30]\n", r":1: expected an unambiguous value, got '1:30'.* base 60", id="sexagesimal"),
        pytest.param("a: " + "9" * 400, r":1: expected at most 18 digits, got 400", id="digits"),
        pytest.param("a: &x\n  b: *x\n", r":2: expected a value, got \*x, which contains itself", id="self-reference"),
        pytest.param("[" * 5000, r":1: expected at most 64 levels of nesting", id="nesting"),
        pytest.param("- " * 5000 + "1", r":1: expected at most 64 levels of nesting", id="nesting by dashes"),
        pytest.param(BOMB, r"expected at most 100,000 values", id="aliases"),
        pytest.param("a: [1\n", r":2: expected YAML, got a syntax error", id="syntax"),
        pytest.param("a: 1\n---\nb: 2\n", r":2: expected YAML", id="two documents"),
        pytest.param("a: !!python/object:os.system x", r":1: expected YAML", id="object"),
        pytest.param("? [1]\n: 2\n", r":1: expected YAML, .*unhashable", id="list as key"),
        pytest.param("a: 2026-13-45", r"month must be in 1\.\.12", id="date"),
        pytest.param("a: \x01", r"expected YAML", id="control character"),
        pytest.param("x: 1\n" + "#" * 2**20, r"at most 1,048,576 bytes, got 1,048,581", id="size"),
        pytest.param(b"a: \xff", r"expected a YAML file in UTF-8", id="encoding"),
    ],
)
def test_unclear_yaml_is_rejected(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"config\.yaml{message}" if message.startswith(":") else message):
        read_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: '010'\nb: 0\nc: -0.5\nd: 0x10\ne: 1e-4\nf: 12:60x\ng: .inf\n",
        "a: &x {b: 1}\nc: *x\nd: {<<: *x, b: 2}\n",
        "{1: 1, '1': 2, 1.5: 3}",
        "[[1, 2], {a: {b: 1, c: 2}, b: 1}, {a: 1}]",
        "? a\n: b\n? c\n: d\n",
    ],
)
def test_clear_yaml_is_read_as_by_pyyaml(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert read_yaml(path) == yaml.safe_load(text)


TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=8)  # \x85 is a line end in YAML
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_written_yaml_and_json_are_read(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8", newline="")
        assert read_yaml(path) == value
        path.write_text(json.dumps(value), encoding="utf-8")
        assert read_json(path) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"a": }', r"a\.json:2: expected JSON, got a syntax error"),
        ('{"a": ' + "9" * 400 + "}", r"a\.json: expected integers of at most 18 digits, got 400"),
        ('{"a": -' + "9" * 5000 + "}", r"a\.json: expected integers of at most 18 digits, got 5001"),
        ("[" * 200_000, r"a\.json: expected JSON, got a document nested too deeply"),
    ],
)
def test_unclear_json_is_rejected(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(path)


def test_long_numbers_in_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"x": 0.1234567890123456789012, "name": "00000000000000000000007.jpg", "n": 123456789012345678}')
    assert read_json(path) == {
        "x": 0.1234567890123456789012,
        "name": "00000000000000000000007.jpg",
        "n": 123456789012345678,
    }


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_paths_that_are_not_files(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="got a folder"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="got a pipe or device"):
        read(tmp_path / "pipe")
