"""Command-line flags and YAML settings out of the signature and the docstring of a tracker's constructor."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Parameter:
    """A constructor parameter whose value can be spelled in a terminal or a YAML file.

    Attributes:
        name: as in the signature.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        choices: the allowed values of a ``Literal``, otherwise empty.
        optional: whether None (written ``none``) is allowed.
        default: as in the signature; ``inspect.Parameter.empty`` if there is none.
        description: from the ``Args:`` section of the docstring.
    """

    name: str
    kind: type
    choices: tuple[Any, ...]
    optional: bool
    default: Any
    description: str

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return "--" + self.name.replace("_", "-")

    def read(self, value: Any) -> Any:
        """``value`` from a terminal (a string) or YAML, as the constructor wants it.

        Raises:
            ValueError: if it is of another kind.
        """
        if value is None or (self.optional and isinstance(value, str) and value.lower() in ("none", "null")):
            if self.optional:
                return None
        elif self.choices:
            for choice in self.choices:
                if str(choice) == str(value):
                    return choice
        elif self.kind is bool or isinstance(value, bool):
            if self.kind is bool and isinstance(value, bool):
                return value
        elif isinstance(value, (str, int, float)):
            try:
                converted = self.kind(value)
            except ValueError:
                converted = None
            if converted is not None and (self.kind is str or float(converted) == float(value)):
                return converted
        raise ValueError(f"{self.name} must be {self.expected}, got {value!r}")

    @property
    def expected(self) -> str:
        """What a value may be, in words."""
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        text = "one of " + ", ".join(map(str, self.choices)) if self.choices else words[self.kind]
        return text + (" or none" if self.optional else "")


def parameters_of(tracker: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of ``tracker`` that can be given as flags, in the order of its docstring.

    Parameters of other types (functions, arrays) are for Python and left out.

    >>> def tracker(*, max_age: int = 30, cost: object = None):
    ...     '''Track.
    ...
    ...     Args:
    ...         max_age: frames without a detection
    ...             after which a track ends.
    ...     '''
    >>> for p in parameters_of(tracker).values():
    ...     print(p.flag, p.kind.__name__, p.default, "|", p.description)
    --max-age int 30 | frames without a detection after which a track ends.
    """
    texts = argument_texts(inspect.getdoc(tracker) or "")
    parameters = {}
    for name, parameter in inspect.signature(tracker).parameters.items():
        read = _readable_type(_evaluated(parameter.annotation, tracker))
        if read is not None and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            kind, choices, optional = read
            text = texts.get(name, "")
            parameters[name] = Parameter(name, kind, choices, optional, parameter.default, text)
    documented = [name for name in texts if name in parameters]
    return {name: parameters[name] for name in dict.fromkeys([*documented, *parameters])}


def argument_texts(docstring: str) -> dict[str, str]:
    r"""The descriptions in the ``Args:`` section of a Google docstring, by argument.

    >>> argument_texts("Title.\n\nArgs:\n    low: lower\n        bound.\n    high (float): upper.\n\nReturns: x")
    {'low': 'lower bound.', 'high': 'upper.'}
    """
    section = re.search(r"^(?:Args|Arguments):\n((?:[ \t]+.*\n?|\n(?=[ \t]))+)", docstring, re.MULTILINE)
    if section is None:
        return {}
    texts: dict[str, str] = {}
    lines = section[1].splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    for line in lines:
        start = re.match(rf"[ \t]{{{indent}}}(\w+)(?: *\([^)]*\))?: *(.*)", line)
        if start:
            texts[start[1]] = start[2]
        elif texts and line.strip():
            last = next(reversed(texts))
            texts[last] = f"{texts[last]} {line.strip()}".strip()
    return texts


def add_flags(parser: argparse.ArgumentParser, title: str, parameters: Mapping[str, Parameter]) -> None:
    """Give ``parser`` one flag per parameter, in a group called ``title``; flags not given leave no trace."""
    group = parser.add_argument_group(title)
    for parameter in parameters.values():
        text = _in_terminal_words(parameter.description, parameters)
        if parameter.default is not inspect.Parameter.empty:
            text += f" (default: {_spelled(parameter.default)})"
        options: dict[str, Any] = {"dest": _dest(parameter), "help": text.strip()}
        try:
            if parameter.kind is bool and not parameter.choices:
                action = group.add_argument(parameter.flag, action=argparse.BooleanOptionalAction, **options)
            else:
                metavar = "|".join(map(str, parameter.choices)) or parameter.kind.__name__.upper()
                action = group.add_argument(parameter.flag, type=_reader(parameter), metavar=metavar, **options)
        except argparse.ArgumentError as error:
            raise ValueError(
                f"{title}: {parameter.flag} is already a flag of this command; rename the parameter {parameter.name}"
            ) from error
        action.default = argparse.SUPPRESS  # set late: Python 3.10 would write it into the help of yes-no flags


def given_flags(namespace: argparse.Namespace, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """The parameters that were given as flags."""
    given = vars(namespace)
    return {name: given[_dest(p)] for name, p in parameters.items() if _dest(p) in given}


def read_settings(path: Path, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parameters out of a YAML file, a mapping of parameter names to values.

    Raises:
        ValueError: if the file is not such a mapping; with the line, key or value at fault.
    """
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a YAML file in UTF-8, got other bytes ({error.reason})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}:{line}: this is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: this is not YAML: {error}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ValueError(
            f"{path}: expected lines 'parameter: value', got a {type(settings).__name__}; "
            f"parameters: {', '.join(parameters)}"
        )
    unknown = [str(key) for key in settings if key not in parameters]
    if unknown:
        raise ValueError(f"{path}: unknown parameter {', '.join(unknown)}; this tracker has: {', '.join(parameters)}")
    try:
        return {name: parameters[name].read(value) for name, value in settings.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _evaluated(annotation: Any, tracker: Callable[..., Any]) -> Any:
    """The type behind an annotation that ``from __future__ import annotations`` left as a string."""
    if not isinstance(annotation, str):
        return annotation
    # Base classes of a dataclass may live in other modules, where other names are known.
    homes = [tracker, *getattr(tracker, "__mro__", ())]
    names: dict[str, Any] = {"Literal": Literal}
    for home in homes:
        module = sys.modules.get(getattr(home, "__module__", ""))
        names = {**vars(module), **names} if module else names
    try:
        return eval(annotation, names)  # noqa: S307 - source code of an installed tracker, as typing does it
    except (NameError, TypeError, AttributeError):
        return None  # a type imported for type checkers only: not one for flags


def _readable_type(annotation: Any) -> tuple[type, tuple[Any, ...], bool] | None:
    """(type, choices, optional) if a value can be written as text, otherwise None."""
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [member for member in get_args(annotation) if member is not type(None)]
        optional = len(rest) < len(get_args(annotation))
        if set(rest) == {int, float}:
            rest = [float]
        if len(rest) != 1:
            return None
        annotation = rest[0]
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return type(choices[0]), choices, optional
    if annotation in (bool, int, float, str):
        return annotation, (), optional
    return None


def _in_terminal_words(text: str, parameters: Mapping[str, Parameter]) -> str:
    """``text`` of a docstring for ``--help``: other parameters as flags, no markup."""
    flags = {name: parameter.flag for name, parameter in parameters.items()}
    text = re.sub(r"``(.+?)``", lambda code: flags.get(code[1], code[1]), text)
    return text.replace("%", "%%")  # argparse formats it


def _reader(parameter: Parameter) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return parameter.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {parameter.expected}, got {text!r}") from None

    return read


def _dest(parameter: Parameter) -> str:
    return "tracker." + parameter.name


def _spelled(value: Any) -> str:
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
