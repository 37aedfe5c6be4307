"""How a tracker was built, as plain data in its checkpoints: nothing in a checkpoint is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import torch

from mot_core.plugins import Plugin

if TYPE_CHECKING:
    from mot_core.trackers.base import Tracker


def plain(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor by name, as numbers, strings, lists and dicts; others are left out.

    >>> class Point:
    ...     def __init__(self, x, y=0, *, name="p"): ...
    >>> plain(Point, (1,), {"name": ("a", "b")})
    {'x': 1, 'name': ['a', 'b']}
    """
    bound = inspect.signature(cls.__init__).bind_partial(None, *args, **kwargs)  # type: ignore[misc]  # of an unknown class
    values = {name: _plain(value) for name, value in list(bound.arguments.items())[1:]}
    return {name: value for name, value in values.items() if value is not _OTHER}


_OTHER = object()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else _OTHER


def read_tracker(base: type[Tracker], path: str | PathLike[str], plugins: Sequence[Plugin] = ()) -> Tracker:
    """Builds the tracker in a checkpoint, ``base`` or one of its subclasses, with its weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or plug-ins that it needs are not given.
    """
    content = read_checkpoint(path)
    record = content.get("tracker")
    if not isinstance(record, Mapping) or "state_dict" not in content:
        raise ValueError(
            f"{path} has no tracker of ours in it; released weights of other projects are converted by `mot import`"
        )
    classes = {one.__name__: one for one in _family(base)}
    if record["class"] not in classes:
        known = ", ".join(name for name, one in classes.items() if not inspect.isabstract(one))
        raise ValueError(f"{path} holds a tracker of class {record['class']!r}; known here: {known}")
    given = {plugin.name for plugin in plugins}
    lacking = [name for name, needed in record["plugins"].items() if needed and name not in given]
    if lacking:
        raise ValueError(f"{path} was trained with plug-ins that also act in tracking; give them too: {lacking}")
    tracker = build(classes[record["class"]], record["arguments"])
    for plugin in plugins:
        tracker.attach(plugin)
    tracker.setup()
    weights = {
        name: tensor
        for name, tensor in content["state_dict"].items()
        if not name.startswith("plugins.") or name.split(".")[1] in given
    }
    try:
        tracker.load_state_dict(weights)
    except RuntimeError as error:  # names every key on a line of its own
        raise ValueError(f"{path} does not fit its own tracker: {' '.join(str(error).split())[:300]}") from error
    return tracker.eval()


def build(cls: type[Tracker], arguments: Mapping[str, Any]) -> Tracker:
    """A tracker from plain arguments: dicts become the settings that the constructor wants."""
    hints = get_type_hints(cls.__init__)
    return cls(**{name: _settings(hints.get(name), value) for name, value in arguments.items()})


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """All that a file of ``torch.save`` holds, without running any code in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist or is not a file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or foreign file makes torch raise
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a checkpoint that can be read with weights_only=True: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a checkpoint, got {type(content).__name__}")
    return content


def _settings(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        for option in (hint, *get_args(hint)):
            if is_dataclass(option) and isinstance(option, type):
                return option(**{name: tuple(one) if isinstance(one, list) else one for name, one in value.items()})
    return value


def _family(base: type[Tracker]) -> Iterator[type[Tracker]]:
    yield base
    for one in base.__subclasses__():
        yield from _family(one)
