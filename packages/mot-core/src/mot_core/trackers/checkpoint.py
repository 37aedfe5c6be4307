"""How a tracker was built, as constructor_arguments data in its checkpoints: nothing in a checkpoint is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from os import PathLike
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from mot_core.checkpoints.report import read_file
from mot_core.plugins import Plugin

if TYPE_CHECKING:
    from mot_core.trackers.base import Tracker


def constructor_arguments(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor by name, as numbers, strings, lists and dicts.

    Raises:
        TypeError: an argument cannot be written so, or does not fit the constructor.

    >>> class Point:
    ...     def __init__(self, x, y=0, *, name="p"): ...
    >>> constructor_arguments(Point, (1,), {"name": ("a", "b")})
    {'x': 1, 'name': ['a', 'b']}
    """
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # of an unknown class
    values: dict[str, Any] = {}
    for name, value in list(signature.bind_partial(None, *args, **kwargs).arguments.items())[1:]:
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        else:
            values[name] = value
    return {name: _as_plain_data(value, f"{cls.__name__}: argument {name!r}") for name, value in values.items()}


def _as_plain_data(value: Any, what: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_plain_data(getattr(value, field.name), what) for field in fields(value) if field.init}
    if isinstance(value, Mapping) and all(isinstance(name, str | int) for name in value):
        return {name: _as_plain_data(one, what) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain_data(one, what) for one in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # without what a subclass adds, as numpy.float64
    if value is not None:
        raise TypeError(
            f"{what} must be numbers, strings, lists, dicts or a dataclass of them, got {type(value).__name__}: it is "
            "written into checkpoints"
        )
    return None


def describe(tracker: Tracker) -> dict[str, Any]:
    """What stands in a checkpoint beside the weights: class, arguments, plug-ins, and how frames were resized."""
    data = getattr(tracker._trainer, "datamodule", None)
    resize = getattr(data, "resize", None)
    return {
        "class": type(tracker).__name__,
        "arguments": tracker.arguments,
        "plugins": tracker.plugins.tracking(),
        "resize": tracker.resize
        if resize is None
        else _as_plain_data(resize, f"{type(data).__name__}: argument 'resize'"),
    }


def read_tracker(
    base: type[Tracker],
    path: str | PathLike[str],
    plugins: Sequence[Plugin] = (),
    changes: Mapping[str, Any] | None = None,
) -> Tracker:
    """Builds the tracker in a checkpoint, ``base`` or one of its subclasses, with its weights.

    ``changes`` are arguments in place of those in the checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or plug-ins that it needs are not given.
    """
    content = read_checkpoint(path)
    record = content.get("tracker")
    if not isinstance(record, Mapping) or not {"class", "arguments", "plugins"} <= set(record):
        raise ValueError(
            f"{path} has no tracker of ours in it; released weights of other projects are converted by `mot import`"
        )
    classes = {one.__name__: one for one in reversed(list(_family(base)))}  # of one name: the one nearest to base
    if record["class"] not in classes:
        known = ", ".join(name for name, one in classes.items() if not inspect.isabstract(one))
        raise ValueError(f"{path} holds a tracker of class {record['class']!r}; known here: {known}")
    given = {plugin.name for plugin in plugins}
    lacking = [name for name, needed in record["plugins"].items() if needed and name not in given]
    if lacking:
        raise ValueError(
            f"{path} was trained with plug-ins that also act in tracking; give them too: {', '.join(lacking)}"
        )
    unknown = sorted(given - set(record["plugins"]))
    if unknown:
        raise ValueError(f"{path} was trained without the plug-ins {', '.join(unknown)}; leave them out")
    arguments = {**record["arguments"], **(changes or {})}
    try:
        tracker = build(classes[record["class"]], arguments)
    except (TypeError, ValueError) as error:
        if changes:
            raise ValueError(f"{path} with {changes}: {error}") from error
        raise ValueError(f"{path} comes from another version, its arguments do not fit: {error}") from error
    tracker.resize = record.get("resize")
    for plugin in plugins:
        tracker.attach(plugin)
    tracker.setup()
    weights = {
        name: tensor
        for name, tensor in content.get("state_dict", {}).items()
        if not name.startswith("plugins.") or name.split(".")[1] in given
    }
    try:
        tracker.load_state_dict(weights)
    except RuntimeError as error:  # names every key on a line of its own
        raise ValueError(f"{path} does not fit its own tracker: {' '.join(str(error).split())[:300]}") from error
    return tracker.eval()


def build(cls: type[Tracker], arguments: Mapping[str, Any]) -> Tracker:
    """A tracker from constructor_arguments arguments: dicts become the settings that the constructor wants."""
    hints: dict[str, Any] = {}
    for one in reversed(cls.__mro__):
        hints.update(get_type_hints(one.__init__))  # type: ignore[misc]  # of an unknown class
    return cls(**{name: _settings(hints.get(name), value) for name, value in arguments.items()})


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """All that a checkpoint of Lightning holds, without running any code in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds something else.
    """
    content = read_file(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a checkpoint, got {type(content).__name__}")
    return content


def _settings(hint: Any, value: Any) -> Any:
    """What a constructor_arguments value was before, by the hint of its argument: a dataclass, a tuple, or the same."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        if isinstance(value, Mapping) and isinstance(option, type) and is_dataclass(option):
            hints = get_type_hints(option)
            return option(**{name: _settings(hints.get(name), one) for name, one in value.items()})
        if isinstance(value, list) and tuple in (option, get_origin(option)):
            return tuple(value)
    return value


def _family(base: type[Tracker]) -> Iterator[type[Tracker]]:
    yield base
    for one in base.__subclasses__():
        yield from _family(one)
