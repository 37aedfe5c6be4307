"""Flags and YAML settings from the signature and docstring of a constructor."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Literal

import pytest

from mot_core.association import ByteTrack, OCSort, Sort
from mot_core.cli.track.flags import add_flags, argument_texts, given_flags, parameters_of, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable


class Base:
    """A base class with annotations that are strings."""

    def __init__(self, *, frame_rate: float = 30.0, cost: Callable[..., float] = max) -> None: ...


class Example(Base):
    """An example.

    Args:
        mode: Mode to use: fast
            or well.
        max_age: Frames; 50 % of a second.
        smooth: Whether to smooth.
        limit: Maximum number.

    Text after the section.
    """

    def __init__(
        self,
        *,
        smooth: bool = True,
        max_age: int = 30,
        mode: Literal["fast", "well"] = "fast",
        limit: int | None = None,
        scale: int | float = 1,
        cost: Callable[..., float] = max,
    ) -> None: ...


@pytest.fixture
def parameters():
    return parameters_of(Example)


def parse(parameters, *arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser, "parameters", parameters)
    return given_flags(parser.parse_args(arguments), parameters)


def test_parameters_follow_the_order_of_the_docstring(parameters):
    assert list(parameters) == ["mode", "max_age", "smooth", "limit", "scale"]
    assert parameters["mode"].description == "Mode to use: fast or well."
    assert parameters["limit"].optional
    assert parameters["scale"].kind is float
    assert "cost" not in parameters  # a function cannot be a flag


@pytest.mark.parametrize("tracker", [ByteTrack, OCSort, Sort])
def test_flags_of_trackers_are_documented(tracker):
    for parameter in parameters_of(tracker).values():
        assert parameter.description, f"{tracker.__name__}.{parameter.name} is missing from the Args section"


def test_given_flags(parameters):
    assert parse(parameters) == {}
    assert parse(parameters, "--max-age", "7") == {"max_age": 7}
    assert parse(parameters, "--no-smooth", "--mode", "well", "--limit", "none", "--scale", "inf") == {
        "smooth": False,
        "mode": "well",
        "limit": None,
        "scale": float("inf"),
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max-age", "7.5"], "expected an integer, got '7.5'"),
        (["--mode", "best"], "expected one of fast, well, got 'best'"),
        (["--limit", "many"], "expected an integer or none, got 'many'"),
        (["--scale", "wide"], "expected a number, got 'wide'"),
    ],
)
def test_invalid_values_are_usage_errors(parameters, arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(parameters, *arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_help_with_defaults_and_percent_signs(parameters):
    parser = argparse.ArgumentParser()
    add_flags(parser, "parameters of example", parameters)
    text = " ".join(parser.format_help().split())
    assert "Frames; 50 % of a second. (default: 30)" in text
    assert "--smooth, --no-smooth Whether to smooth. (default: yes)" in text
    assert "--limit INT Maximum number. (default: none)" in text


def test_parameter_with_the_name_of_a_flag_is_rejected(parameters):
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode")
    with pytest.raises(ValueError, match="--mode is already a flag of this command; rename the parameter mode"):
        add_flags(parser, "parameters of example", parameters)


def test_defaults_of_different_types():
    def tracker(*, count: int = 1, gain: float = 0.0, on: bool = False) -> None: ...

    parser = argparse.ArgumentParser()
    add_flags(parser, "parameters", parameters_of(tracker))
    assert "(default: 1)" in parser.format_help()
    assert "(default: 0.0)" in parser.format_help()
    assert "(default: no)" in parser.format_help()


def test_docstring_without_args_section():
    assert argument_texts("Title.\n\nMore text: with a colon.") == {}


def test_blank_line_within_the_args_section():
    text = "Title.\n\nArgs:\n    a: one.\n\n    b: two.\n\nReturns:\n    c: no argument.\n"
    assert argument_texts(text) == {"a": "one.", "b": "two."}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_settings(tmp_path, parameters):
    text = "max_age: 7\nscale: 1e-3\nlimit: null\nsmooth: no\n"  # 1e-3 is a string in YAML
    assert read_settings(write(tmp_path / "c.yaml", text), parameters) == {
        "max_age": 7,
        "scale": 0.001,
        "limit": None,
        "smooth": False,
    }
    assert read_settings(write(tmp_path / "empty.yaml", "# nothing\n"), parameters) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max_agge: 7\n",
            r"c\.yaml: unknown parameter max_agge; did you mean max_age\\?",
        ),
        ("max_age: 7.5\n", r"c\.yaml: max_age: expected an integer, got 7\.5"),
        ("max_age: true\n", r"c\.yaml: max_age: expected an integer, got True"),
        ("max_age: null\n", r"c\.yaml: max_age: expected an integer, got None"),
        ("smooth: 1\n", r"c\.yaml: smooth: expected true or false, got 1"),
        ("scale: [1, 2]\n", r"c\.yaml: scale: expected a number, got \[1, 2\]"),
        ("- max_age\n", r"c\.yaml: expected lines 'parameter: value', got a list"),
        ("a: 1\nmax_age: [1\n", r"c\.yaml:3: expected YAML"),
        ("x: \x01\n", r"c\.yaml: expected YAML, got a syntax error"),
    ],
)
def test_invalid_yaml_is_reported_with_the_file(tmp_path, parameters, text, words):
    with pytest.raises(ValueError, match=words):
        read_settings(write(tmp_path / "c.yaml", text), parameters)


def test_yaml_in_another_encoding(tmp_path, parameters):
    path = tmp_path / "c.yaml"
    path.write_bytes("max_age: 7 # größer\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"c\.yaml: expected a YAML file in UTF-8"):
        read_settings(path, parameters)


def test_broken_annotation_makes_no_flag():
    def tracker(*, size: int = 3, scale: float = 1.0) -> None: ...

    tracker.__annotations__["scale"] = "float | ("
    assert list(parameters_of(tracker)) == ["size"]
