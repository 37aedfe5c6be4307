"""Command-line flags and YAML settings from the signature and docstring of a tracker's constructor."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mot_core.io.documents import read_yaml
from mot_core.suggestions import suggest_name


@dataclass(frozen=True)
class Parameter:
    """A constructor parameter with values that can be written on the command line or in YAML.

    Attributes:
        name: Name in the signature.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        choices: Allowed values of a ``Literal``, otherwise empty.
        optional: Whether None (written ``none``) is allowed.
        default: Default in the signature; ``inspect.Parameter.empty`` if there is none.
        description: Description in the ``Args:`` section of the docstring.
    """

    name: str
    kind: type
    choices: tuple[Any, ...]
    optional: bool
    default: Any
    description: str

    @property
    def flag(self) -> str:
        """Command-line flag of the parameter."""
        return "--" + self.name.replace("_", "-")

    def read(self, value: Any) -> Any:
        """Convert ``value``, a string from the command line or a YAML value, to the type of the parameter.

        Raises:
            ValueError: If ``value`` has another type.
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
        raise ValueError(f"{self.name}: expected {self.expected}, got {value!r}")

    @property
    def expected(self) -> str:
        """Description of the accepted values."""
        words = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
        text = "one of " + ", ".join(map(str, self.choices)) if self.choices else words[self.kind]
        return text + (" or none" if self.optional else "")


def parameters_of(tracker: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the parameters of ``tracker`` that can be flags, in the order of its docstring.

    Parameters of other types (functions, arrays) can be set from Python only and are omitted.

    >>> def tracker(*, max_age: int = 30, cost: object = None):
    ...     '''Track.
    ...
    ...     Args:
    ...         max_age: Frames without a detection
    ...             after which a track ends.
    ...     '''
    >>> for p in parameters_of(tracker).values():
    ...     print(p.flag, p.kind.__name__, p.default, "|", p.description)
    --max-age int 30 | Frames without a detection after which a track ends.
    """
    texts = argument_texts(inspect.getdoc(tracker) or "")
    parameters = {}
    for name, parameter in inspect.signature(tracker).parameters.items():
        read = _flag_type(_evaluate(parameter.annotation, tracker))
        if read is not None and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            kind, choices, optional = read
            text = texts.get(name, "")
            parameters[name] = Parameter(name, kind, choices, optional, parameter.default, text)
    documented = [name for name in texts if name in parameters]
    return {name: parameters[name] for name in dict.fromkeys([*documented, *parameters])}


def argument_texts(docstring: str) -> dict[str, str]:
    r"""Return the descriptions in the ``Args:`` section of a Google docstring, by argument.

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
    """Add one flag per parameter to ``parser``, in a group ``title``; unused flags are absent from the namespace."""
    group = parser.add_argument_group(title)
    for parameter in parameters.values():
        text = _to_help_text(parameter.description, parameters)
        if parameter.default is not inspect.Parameter.empty:
            text += f" (default: {_format_default(parameter.default)})"
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
        action.default = argparse.SUPPRESS  # set here because Python 3.10 would print it in the help of boolean flags


def given_flags(namespace: argparse.Namespace, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the parameters that were given as flags."""
    given = vars(namespace)
    return {name: given[_dest(p)] for name, p in parameters.items() if _dest(p) in given}


def read_settings(path: Path, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Read parameters from a YAML file that maps parameter names to values.

    Raises:
        ValueError: If the file is not such a mapping; the message states the line, key or value.
    """
    settings = read_yaml(path)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ValueError(
            f"{path}: expected lines 'parameter: value', got a {type(settings).__name__}; "
            f"parameters: {', '.join(parameters)}"
        )
    unknown = [str(key) for key in settings if key not in parameters]
    if unknown:
        hint = suggest_name(unknown[0], parameters, "this tracker has")
        raise ValueError(f"{path}: unknown parameter {', '.join(unknown)}; {hint}")
    try:
        return {name: parameters[name].read(value) for name, value in settings.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _evaluate(annotation: Any, tracker: Callable[..., Any]) -> Any:
    """Resolve an annotation that ``from __future__ import annotations`` turned into a string."""
    if not isinstance(annotation, str):
        return annotation
    # Base classes of a dataclass may be defined in other modules, with other names in scope.
    owners = [tracker, *getattr(tracker, "__mro__", ())]
    names: dict[str, Any] = {"Literal": Literal}
    for owner in owners:
        module = sys.modules.get(getattr(owner, "__module__", ""))
        names = {**vars(module), **names} if module else names
    holder = types.SimpleNamespace(__annotations__={"annotation": annotation})
    try:
        return get_type_hints(holder, names)["annotation"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None  # a type imported for type checkers only, which cannot be a flag


def _flag_type(annotation: Any) -> tuple[type, tuple[Any, ...], bool] | None:
    """Return (type, choices, optional) if values of the type can be written as text, otherwise None."""
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [member for member in get_args(annotation) if member is not type(None)]
        optional = len(rest) < len(get_args(annotation))
        if set(rest) == {int, float}:
            rest = [float]
        if len(rest) > 1:  # members that cannot be written as text are set from Python
            rest = [member for member in rest if _flag_type(member) is not None]
        if len(rest) != 1:
            return None
        annotation = rest[0]
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return type(choices[0]), choices, optional
    if annotation in (bool, int, float, str):
        return annotation, (), optional
    return None


def _to_help_text(text: str, parameters: Mapping[str, Parameter]) -> str:
    """Convert docstring text for ``--help``: parameter names become flags, and markup is removed."""
    flags = {name: parameter.flag for name, parameter in parameters.items()}
    text = re.sub(r"``(.+?)``", lambda code: flags.get(code[1], code[1]), text)
    return text.replace("%", "%%")  # argparse applies %-formatting


def _reader(parameter: Parameter) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return parameter.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {parameter.expected}, got {text!r}") from None

    return read


def _dest(parameter: Parameter) -> str:
    return "tracker." + parameter.name


def _format_default(value: Any) -> str:
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))
