"""YAML and JSON files, read strictly: what a person cannot have meant is an error with file and line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

LARGEST = 2**20  # bytes of a YAML file; configs have a few thousand
DEEPEST = 64  # levels of nesting
MOST_VALUES = 100_000  # values of a document after its aliases are expanded
MOST_DIGITS = 18  # larger integers do not fit into 64 bits

_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_INTEGER = re.compile(r"[-+]?[0-9_]+")
_LONG_INTEGER = re.compile(rf"(?<![0-9.])[0-9]{{{MOST_DIGITS + 1},}}")


def read_yaml(path: str | PathLike[str]) -> Any:
    r"""Read a YAML file.

    In addition to syntax errors, an error is: a key that occurs twice in a mapping, a number that YAML 1.1 reads in
    base 8 (``010`` is 8) or 60 (``1:30`` is 90), an integer of more than 18 digits, a value that contains itself, more
    than 64 levels of nesting, and more than 100,000 values.

    Args:
        path: Path of the file, in UTF-8.

    Returns:
        Dictionaries, lists, strings, numbers, booleans and None; None for an empty file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the content is one of the above; the message names file and line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.yaml"
    >>> _ = path.write_text("weights: {box: 5, giou: 2}\n")
    >>> read_yaml(path)["weights"]["box"]
    5
    """
    text = _read_text(Path(path), "YAML", LARGEST)
    try:
        _check_events(text)
        return yaml.load(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ValueError(f"{path}:{line}: expected YAML, got a syntax error: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML, got a syntax error: {' '.join(str(error).split())}") from None
    except _Unclear as error:
        raise ValueError(f"{path}:{error.args[0]}") from None
    except ValueError as error:  # such as the date 2026-13-45
        raise ValueError(f"{path}: expected YAML, got a value that cannot be read: {error}") from None


def read_json(path: str | PathLike[str]) -> Any:
    r"""Read a JSON file.

    Args:
        path: Path of the file, in UTF-8.

    Returns:
        Dictionaries, lists, strings, numbers, booleans and None.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not JSON, is nested too deeply, or holds an integer of more than 18 digits; the message
            names the file, and the line of a syntax error.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "motion.json"
    >>> _ = path.write_text('{"q": 0.5}')
    >>> read_json(path)["q"]
    0.5
    """
    text = _read_text(Path(path), "JSON")
    # A Python function for every integer would double the time for large annotation files.
    parse_int = _integer if _LONG_INTEGER.search(text) else None
    try:
        return json.loads(text, parse_int=parse_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: expected JSON, got a syntax error: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: expected JSON, got a document nested too deeply; flatten it") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_text(path: Path, kind: str, largest: int | None = None) -> str:
    if path.is_dir():
        raise FileNotFoundError(f"{path}: expected a {kind} file, got a folder; give the path of the file")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise ValueError(f"{path}: expected a {kind} file, got a pipe or device; save the content to a file")
    size = path.stat().st_size
    if largest is not None and size > largest:
        raise ValueError(f"{path}: expected a {kind} file of at most {largest:,} bytes, got {size:,}; check the path")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected a {kind} file in UTF-8, got other bytes ({error.reason}); save it as UTF-8"
        ) from None


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"expected integers of at most {MOST_DIGITS} digits, got {len(digits)} digits; correct them")
    return int(digits)


class _Unclear(Exception):
    """Valid YAML that is not accepted, with "LINE: message"."""


@dataclass
class _Open:
    """A mapping or sequence that has begun.

    Attributes:
        is_mapping: Whether it is a mapping.
        anchor: Its anchor, or None.
        size: Number of values so far, with aliases expanded.
        children: Number of direct children so far; those at even positions of a mapping are keys.
        lines: Line of each key.
    """

    is_mapping: bool
    anchor: str | None
    size: int = 1
    children: int = 0
    lines: dict[tuple[str, str], int] = field(default_factory=dict)


def _check_events(text: str) -> None:
    """Check the stream of YAML events, which needs neither recursion nor memory for aliases."""
    sizes: dict[str, int | None] = {}  # number of values by anchor; None while it is open
    stack = [_Open(is_mapping=False, anchor=None)]
    resolver: Any = yaml.resolver.Resolver()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > DEEPEST:
                raise _Unclear(f"{line}: expected at most {DEEPEST} levels of nesting, got more; flatten the file")
            stack[-1].children += 1
            stack.append(_Open(isinstance(event, yaml.MappingStartEvent), event.anchor))
            if event.anchor:
                sizes[event.anchor] = None
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            if ended.anchor:
                sizes[ended.anchor] = ended.size
            stack[-1].size += ended.size
        elif isinstance(event, yaml.AliasEvent):
            found = sizes.get(event.anchor or "", 1)
            if found is None:
                raise _Unclear(f"{line}: expected a value, got *{event.anchor}, which contains itself; write it out")
            stack[-1].size += found
            stack[-1].children += 1
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor:
                sizes[event.anchor] = 1
            if event.implicit[0] and event.style is None:
                _check_plain(event.value, line)
            parent = stack[-1]
            if parent.is_mapping and parent.children % 2 == 0:
                tag = event.tag or resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
                if (tag, event.value) in parent.lines:
                    first = parent.lines[tag, event.value]
                    raise _Unclear(
                        f"{line}: expected each key once, got {event.value!r} again after line {first}; remove one"
                    )
                parent.lines[tag, event.value] = line
            parent.size += 1
            parent.children += 1
        if stack[-1].size > MOST_VALUES:
            raise _Unclear(f"{line}: expected at most {MOST_VALUES:,} values, got more; reduce the file or its aliases")


def _check_plain(text: str, line: int) -> None:
    """Reject unquoted numbers that YAML 1.1 reads differently than people do."""
    if _OCTAL.fullmatch(text):
        problem = "a number with a leading zero, which YAML reads in base 8; remove the zero, or quote text"
    elif _SEXAGESIMAL.fullmatch(text):
        problem = "a number with colons, which YAML reads in base 60; write a plain number, or quote text"
    elif _INTEGER.fullmatch(text) and len(text) > MOST_DIGITS:
        raise _Unclear(f"{line}: expected at most {MOST_DIGITS} digits, got {len(text)}; shorten it, or quote text")
    else:
        return
    raise _Unclear(f"{line}: expected an unambiguous value, got {text!r}, {problem}")
