"""The description of a tracker in its checkpoints: class, arguments and plug-ins as plain data, never as code."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from os import PathLike
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import nn

from mot_core.checkpoints import read_checkpoint
from mot_core.plugins import Plugin, load_plugin

T = TypeVar("T", bound=nn.Module)
PLAIN = (bool, int, float, str, NoneType)
RECORD: dict[str, Any] = {
    "class": str,
    "arguments": Mapping,
    "plugins": Mapping,
    "plugin_arguments": Mapping,
    "resize": Mapping | None,
}


def constructor_arguments(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a constructor by name, as numbers, strings, lists and dicts.

    Raises:
        TypeError: If an argument cannot be written as plain data, or does not fit the constructor.

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


def _as_plain_data(value: Any, name: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_plain_data(getattr(value, field.name), name) for field in fields(value) if field.init}
    if isinstance(value, Mapping) and all(isinstance(name, str | int) for name in value):
        return {key: _as_plain_data(one, name) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain_data(one, name) for one in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # drops the attributes of subclasses such as numpy.float64
    if isinstance(value, PathLike):
        return str(value)
    if value is not None:
        raise TypeError(
            f"{name}: expected numbers, strings, lists, dicts or a dataclass of them, got {type(value).__name__}; "
            "checkpoints store it as plain data"
        )
    return None


def describe(tracker: Any) -> dict[str, Any]:
    """Return the description of a tracker: class, arguments, plug-ins, and how training resized frames."""
    data = getattr(tracker._trainer, "datamodule", None)
    resize = getattr(data, "resize", None)
    return {
        "class": type(tracker).__name__,
        "arguments": tracker.arguments,
        "plugins": tracker.plugins.tracking(),
        "plugin_arguments": {plugin.name: _plugin_arguments(plugin) for plugin in tracker.plugins.values()},
        "resize": (
            tracker.resize if resize is None else _as_plain_data(resize, f"{type(data).__name__}: argument 'resize'")
        ),
    }


def _plugin_arguments(plugin: Plugin) -> dict[str, Any] | None:
    """The arguments of a plug-in; None if one of them is an object, so that only the user can build it again."""
    args, kwargs = plugin.arguments
    try:
        return constructor_arguments(type(plugin), args, kwargs)
    except TypeError:
        return None


def read_tracker(
    base: type[T],
    path: str | PathLike[str],
    plugins: Sequence[Plugin] = (),
    changes: Mapping[str, Any] | None = None,
    *,
    recorded_plugins: bool = True,
) -> T:
    """Build the tracker in a checkpoint, an instance of ``base`` or of a subclass, and load its weights.

    Args:
        base: Class of the tracker, or a base class of it.
        path: Checkpoint file.
        plugins: Plug-ins to attach.
        changes: Arguments that replace those in the checkpoint.
        recorded_plugins: Rebuild the recorded plug-ins that act in tracking and are not in ``plugins``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file holds something else, or a plug-in it needs cannot be rebuilt.
    """
    content = read_checkpoint(path)
    record = _tracker_record(content, path)
    classes = {
        one.__name__: one for one in reversed(list(subclasses(base)))
    }  # for equal names, the class nearest to base
    if record["class"] not in classes:
        known = ", ".join(name for name, one in classes.items() if not inspect.isabstract(one))
        raise ValueError(f"{path} holds a tracker of class {record['class']!r}; known classes are: {known}")
    arguments = {**record["arguments"], **(changes or {})}
    try:
        tracker: Any = build(classes[record["class"]], arguments)
    except Exception as error:  # a constructor raises anything for arguments of the wrong type
        if changes:
            raise ValueError(f"{path} with {changes}: {error}") from error
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} was written by another version, its arguments do not fit: {reason}") from error
    tracker.resize = record.get("resize")
    attached = _plugins_to_attach(record, path, plugins, rebuild=recorded_plugins)
    for plugin in attached:
        tracker.attach(plugin)
    tracker.setup()
    names = {plugin.name for plugin in attached}
    weights = {
        name: tensor
        for name, tensor in content.get("state_dict", {}).items()
        if not name.startswith("plugins.") or name.split(".")[1] in names
    }
    try:
        tracker.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:  # its message has a line per key
        raise ValueError(f"{path} does not fit its own tracker: {' '.join(str(error).split())[:300]}") from error
    loaded: T = tracker.eval()
    return loaded


def _tracker_record(content: Mapping[str, Any], path: str | PathLike[str]) -> Mapping[str, Any]:
    """Return the description of the tracker in a checkpoint, with its types checked."""
    record = content.get("tracker")
    if not isinstance(record, Mapping) or not {"class", "arguments", "plugins"} <= set(record):
        raise ValueError(
            f"{path}: expected a checkpoint of a mot-core tracker, got something else; convert released weights of "
            "other projects with `mot import`"
        )
    for name, kind in RECORD.items():
        if name in record and not isinstance(record[name], kind):
            raise ValueError(
                f"{path}: tracker.{name}: expected a {'string' if kind is str else 'mapping'}, got "
                f"{type(record[name]).__name__}; use a file written by mot fit or mot import"
            )
    return record


def _plugins_to_attach(
    record: Mapping[str, Any], path: str | PathLike[str], given: Sequence[Plugin], *, rebuild: bool
) -> list[Plugin]:
    """The given plug-ins, and those that the checkpoint records as needed in tracking."""
    names = {plugin.name for plugin in given}
    unknown = sorted(names - set(record["plugins"]))
    if unknown:
        raise ValueError(f"{path} was trained without the plug-ins {', '.join(unknown)}; leave them out")
    if not rebuild:
        return list(given)
    recorded = record.get("plugin_arguments", {})
    attached = {plugin.name: plugin for plugin in given}
    for name, needed in record["plugins"].items():
        if not needed or name in names:
            continue
        problem = f"{path} was trained with the plug-in {name!r}, which also acts in tracking"
        arguments = recorded.get(name)
        if arguments is None:
            raise ValueError(
                f"{problem}, and the checkpoint does not hold its arguments; pass the plug-in to "
                "Tracker.from_checkpoint, or track without it with --no-plugins"
            )
        try:
            attached[name] = build(load_plugin(name), arguments)
        except Exception as error:  # a constructor raises anything for arguments of the wrong type
            raise ValueError(
                f"{problem}: {error}; install the package that provides it, or track without it with --no-plugins"
            ) from error
    return [attached[name] for name in record["plugins"] if name in attached]


def without_training_plugins(checkpoint: Mapping[str, Any], attached: Collection[str]) -> dict[str, Any]:
    """Return the weights in a checkpoint, without those of recorded plug-ins that are useless in tracking.

    Args:
        checkpoint: Content of a checkpoint file.
        attached: Names of plug-ins whose weights stay.

    >>> without_training_plugins(
    ...     {"state_dict": {"a": 1, "plugins.pull.w": 2}, "tracker": {"plugins": {"pull": False}}}, attached=[])
    {'a': 1}
    """
    recorded = checkpoint.get("tracker", {}).get("plugins", {})
    dropped = tuple(f"plugins.{name}." for name, acts in recorded.items() if not acts and name not in attached)
    return {name: value for name, value in checkpoint["state_dict"].items() if not name.startswith(dropped)}


def build(cls: type[Any], arguments: Mapping[str, Any]) -> Any:
    """Build an object from plain arguments: dicts become the dataclasses that the constructor expects."""
    hints: dict[str, Any] = {}
    for one in reversed(cls.__mro__):
        hints.update(get_type_hints(one.__init__))  # type: ignore[misc]  # of an unknown class
    return cls(**_all_settings(hints, arguments))


def _all_settings(hints: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _settings(hints.get(name), value, name) for name, value in values.items()}


def _settings(hint: Any, value: Any, name: str) -> Any:
    """Convert a plain value back to the type hint of its argument: a dataclass, a tuple, or unchanged.

    Raises:
        TypeError: If a number, string or boolean is expected and the value is something else.
    """
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        if isinstance(value, Mapping) and isinstance(option, type) and is_dataclass(option):
            return option(**_all_settings(get_type_hints(option), value))
        if isinstance(value, list) and tuple in (option, get_origin(option)):
            return tuple(value)
    if all(option in PLAIN for option in options):
        kinds = (*options, int) if float in options else options
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in options):
            expected = " or ".join("None" if option is NoneType else option.__name__ for option in options)
            raise TypeError(f"{name}: expected {expected}, got {value!r}")
    return value


def subclasses(base: type) -> Iterator[type]:
    """Yield a class and all its subclasses.

    >>> [one.__name__ for one in subclasses(bool)]
    ['bool']
    """
    yield base
    children: list[type] = base.__subclasses__()
    for child in children:
        yield from subclasses(child)
