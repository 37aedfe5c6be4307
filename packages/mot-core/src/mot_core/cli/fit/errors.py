"""One-sentence versions of jsonargparse errors, with a suggestion for misspelled names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import import_module

from mot_core.suggestions import suggest_name
from mot_core.trackers.checkpoint import subclasses

LEAF = re.compile(
    r"Option '(?P<option>[^']+)' is not accepted"
    r"|Expected a dot import path string: (?P<name>.+)"
    r"|(?P<lost>No module named '.+'|module '.+' has no attribute '.+')"
    r"|Import path does not correspond to a subclass of (?P<base>\w+)"
    r"|Expected (?P<expected>.+?)(?:\. Got value: (?P<got>.*))?$"
)
SMALLER = "use a smaller model, smaller images, shorter clips, a smaller batch or --model.checkpointing true"
KEY = re.compile(r'Parser key "([^"]+)"')
CLASS = re.compile(r"Problem with given class_path '([^']+)'")
UNKNOWN = re.compile(r"(?:Subcommand '\w+' does not accept option '([^']+)'|unrecognized arguments: (.*))", re.DOTALL)


def in_one_sentence(message: str, known_keys: Sequence[str], bases: Mapping[str, type]) -> str:
    """Shorten a message of jsonargparse to the key, the reason and a suggestion.

    Args:
        message: Message of an ArgumentError.
        known_keys: All keys of the parser.
        bases: Base class of the objects configured under a key.

    >>> in_one_sentence("unrecognized arguments: --trainer.max_epoch 3", ["trainer.max_epochs"], {})
    'there is no trainer.max_epoch; did you mean trainer.max_epochs?'
    """
    unknown = UNKNOWN.search(message)
    if unknown:
        return _unknown_key(unknown[1] or unknown[2], known_keys)
    keys: list[str] = []
    owner = ""
    for line in message.splitlines():
        if key := KEY.search(line):
            keys.append(key[1])
        if found := CLASS.search(line):
            owner = found[1]
        leaf = LEAF.search(line.strip().removeprefix("- "))
        if leaf and keys and "Expected a path but" not in line:
            return f"{'.'.join(keys)}: {_reason(leaf, line, message, owner, bases.get(keys[0]))}"
    return " ".join(message.split())


def first_reason(message: str) -> str:
    r"""Extract the message of a failed constructor from the message of jsonargparse, in one line.

    >>> first_reason("Does not validate\nErrors:\n  - x must be 1\n  - Expected a <class 'NoneType'>\nGiven value: 2")
    'x must be 1'
    >>> first_reason("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
    'out of memory (99 bytes); use a smaller model, smaller images, shorter clips, a smaller batch or ...'
    """
    # The reason is the innermost of nested unions.
    pattern = r"Errors:\n\s+- (?!Does not validate)(.*?)(?=\n\s+- |\n\s*Given value)"
    found = re.search(pattern, message, re.DOTALL)
    reason = " ".join((found[1] if found else message).split())
    if "DefaultCPUAllocator" in reason:
        size = re.search(r"\d+ bytes", reason)
        return f"out of memory{f' ({size[0]})' if size else ''}; {SMALLER}"
    return reason


def _unknown_key(given: str, known: Sequence[str]) -> str:
    key = given.split()[0].lstrip("-").partition("=")[0]
    head = key.partition(".")[0]
    if not any(name.partition(".")[0] == head for name in known):
        key = head  # the first part is unknown already, so the rest does not matter
    return f"there is no {key}{_close(key, known)}"


def _reason(leaf: re.Match[str], line: str, message: str, owner: str, base: type | None) -> str:
    if option := leaf["option"]:
        head, name = option.partition(".")[0], owner.rpartition(".")[2]
        return f"{name} has no argument {head!r}{_close(head, [*_arguments(owner), 'class_path', 'init_args'])}"
    if name := leaf["name"]:
        return f"there is no class {name}{_close(name, sorted(_class_names(base)))}"
    if leaf["lost"]:
        return f"{owner} cannot be imported: {leaf['lost']}"
    given = re.search(r"Given value: (.*)", message)
    got = leaf["got"] or (given[1][:80] if given else "another value")
    if leaf["base"]:
        return f"expected a {leaf['base']}, got {got}"
    # The other types of a union follow in lines of the same indentation.
    depth = len(line) - len(line.lstrip())
    lines = [line] if leaf["got"] else [one for one in message.splitlines() if len(one) - len(one.lstrip()) == depth]
    kinds = dict.fromkeys(kind for one in lines for kind in re.findall(r"Expected an? <class '(?:\w+\.)*(\w+)'>", one))
    expected = " or ".join("null" if kind == "NoneType" else kind for kind in kinds) or leaf["expected"]
    return f"expected {expected}, got {got}"


def _close(name: str, known: Sequence[str]) -> str:
    """Return a suggestion, separated from the sentence before; empty without valid names."""
    return f"; {suggest_name(name, known)}" if known else ""


def _arguments(path: str) -> list[str]:
    """Return the argument names of a class."""
    module, _, name = path.rpartition(".")
    try:
        owner = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return []
    return [
        parameter.name
        for parameter in inspect.signature(owner).parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _class_names(base: type | None) -> set[str]:
    """Return the names of all public subclasses."""
    found = subclasses(base) if base else ()
    return {one.__name__ for one in found if one is not base and not one.__name__.startswith("_")}
