"""Flags and YAML settings out of a constructor's signature and docstring."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Literal

import pytest

from mot_core.association import ByteTrack, OCSort, Sort
from mot_core.cli.track.flags import add_flags, argument_texts, given_flags, parameters_of, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable


class Base:
    """A base class in which the annotations are strings."""

    def __init__(self, *, frame_rate: float = 30.0, cost: Callable[..., float] = max) -> None: ...


class Example(Base):
    """An example.

    Args:
        mode: how to do it: fast
            or well.
        max_age: frames; 50 % of a second.
        smooth: whether to smooth.
        limit: at most so many.

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


def test_documented_parameters_come_first_and_in_the_order_of_the_docstring(parameters):
    assert list(parameters) == ["mode", "max_age", "smooth", "limit", "scale"]
    assert parameters["mode"].description == "how to do it: fast or well."
    assert parameters["limit"].optional
    assert parameters["scale"].kind is float
    assert "cost" not in parameters  # a function cannot be written in a terminal


@pytest.mark.parametrize("tracker", [ByteTrack, OCSort, Sort])
def test_every_flag_of_our_trackers_is_documented(tracker):
    for parameter in parameters_of(tracker).values():
        assert parameter.description, f"{tracker.__name__}.{parameter.name} is missing in the Args section"


def test_only_given_flags_count(parameters):
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
        (["--max-age", "7.5"], "expected a whole number, got '7.5'"),
        (["--mode", "best"], "expected one of fast, well, got 'best'"),
        (["--limit", "many"], "expected a whole number or none, got 'many'"),
        (["--scale", "wide"], "expected a number, got 'wide'"),
    ],
)
def test_wrong_values_are_usage_errors(parameters, arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(parameters, *arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_help_shows_text_and_default_and_survives_percent_signs(parameters):
    parser = argparse.ArgumentParser()
    add_flags(parser, "parameters of example", parameters)
    text = " ".join(parser.format_help().split())
    assert "frames; 50 % of a second. (default: 30)" in text
    assert "--smooth, --no-smooth whether to smooth. (default: yes)" in text
    assert "--limit INT at most so many. (default: none)" in text


def test_a_parameter_named_like_a_flag_of_the_command_is_refused(parameters):
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode")
    with pytest.raises(ValueError, match="--mode is already a flag of this command; rename the parameter mode"):
        add_flags(parser, "parameters of example", parameters)


def test_one_and_true_are_not_confused():
    def tracker(*, count: int = 1, gain: float = 0.0, on: bool = False) -> None: ...

    parser = argparse.ArgumentParser()
    add_flags(parser, "parameters", parameters_of(tracker))
    assert "(default: 1)" in parser.format_help()
    assert "(default: 0.0)" in parser.format_help()
    assert "(default: no)" in parser.format_help()


def test_docstring_without_section_gives_nothing():
    assert argument_texts("Title.\n\nMore text: with a colon.") == {}


def test_a_blank_line_inside_the_section_does_not_end_it():
    text = "Title.\n\nArgs:\n    a: one.\n\n    b: two.\n\nReturns:\n    c: no argument.\n"
    assert argument_texts(text) == {"a": "one.", "b": "two."}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml(tmp_path, parameters):
    text = "max_age: 7\nscale: 1e-3\nlimit: null\nsmooth: no\n"  # 1e-3 is a text for YAML
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
            r"c\.yaml: unknown parameter max_agge; this tracker has: mode, max_age, smooth",
        ),
        ("max_age: 7.5\n", r"c\.yaml: max_age must be a whole number, got 7\.5"),
        ("max_age: true\n", r"c\.yaml: max_age must be a whole number, got True"),
        ("max_age: null\n", r"c\.yaml: max_age must be a whole number, got None"),
        ("smooth: 1\n", r"c\.yaml: smooth must be true or false, got 1"),
        ("scale: [1, 2]\n", r"c\.yaml: scale must be a number, got \[1, 2\]"),
        ("- max_age\n", r"c\.yaml: expected lines 'parameter: value', got a list"),
        ("a: 1\nmax_age: [1\n", r"c\.yaml:3: this is not YAML"),
        ("x: \x01\n", r"c\.yaml: this is not YAML"),
    ],
)
def test_bad_yaml_is_named(tmp_path, parameters, text, words):
    with pytest.raises(ValueError, match=words):
        read_settings(write(tmp_path / "c.yaml", text), parameters)


def test_yaml_in_another_encoding_is_named(tmp_path, parameters):
    path = tmp_path / "c.yaml"
    path.write_bytes("max_age: 7 # größer\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"c\.yaml: expected a YAML file in UTF-8"):
        read_settings(path, parameters)
