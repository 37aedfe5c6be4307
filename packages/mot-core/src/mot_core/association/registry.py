"""Installed trackers, found by entry point and loaded only when named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from mot_core.suggestions import suggest_name

GROUP = "mot_core.trackers"
ADAPTATIONS = "mot_core.adaptations"
"""Entry-point group of functions that train a tracker on the detections to be tracked, named after the tracker."""


def installed_trackers() -> dict[str, EntryPoint]:
    """Return the entry points of all trackers by name, without importing them.

    >>> sorted({"bytetrack", "ocsort", "sort"} & set(installed_trackers()))
    ['bytetrack', 'ocsort', 'sort']
    """
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def trainable_trackers() -> dict[str, type[Any]]:
    """Load every installed tracker that is trained end to end, by name. Needs the extra ``[train]``."""
    loaded = {name: load_tracker(name) for name in installed_trackers()}
    return {name: cast("type[Any]", tracker) for name, tracker in loaded.items() if takes_images(tracker)}


def load_tracker(name: str) -> Callable[..., Any]:
    """Load the tracker class registered as ``name``.

    Raises:
        ValueError: If no tracker has this name, or the package that provides it cannot be loaded.
    """
    trackers = installed_trackers()
    if name not in trackers:
        raise ValueError(f"--tracker: unknown tracker {name!r}; {suggest_name(name, trackers, 'installed trackers')}")
    point = trackers[name]
    try:
        tracker = point.load()
    except Exception as error:  # a package may raise anything; report which one failed
        package = f" of package {point.dist.name}" if point.dist else ""
        others = ", ".join(other for other in trackers if other != name)
        raise ValueError(
            f"--tracker: {name} ({point.value}{package}) cannot be loaded: {type(error).__name__}: {error}; "
            f"other trackers: {others or 'none'}"
        ) from error
    if not (callable(getattr(tracker, "update", None)) or takes_images(tracker)):
        raise ValueError(
            f"--tracker: {name} ({point.value}) is not a tracker: it has no method update(boxes_xyxy, scores, "
            "classes, timestamp)"
        )
    return cast(Callable[..., Any], tracker)


def installed_adaptations() -> dict[str, EntryPoint]:
    """Return the entry points of all trackers that can be trained on the detections to be tracked, by name.

    The function receives the sequences with their detections, the parameters that the user gave, and the output folder.
    It returns further parameters, such as the path of the model that it saved in this folder.

    >>> all(point.group == "mot_core.adaptations" for point in installed_adaptations().values())
    True
    """
    return {point.name: point for point in entry_points(group=ADAPTATIONS)}


def tracker_of(checkpoint: Path) -> str:
    """Return the name of the installed tracker whose checkpoint this is.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, or the checkpoint of no installed tracker.
    """
    from mot_core.checkpoints import read_checkpoint

    content = read_checkpoint(checkpoint)
    record = content.get("tracker")
    wanted = record.get("class") if isinstance(record, Mapping) else None
    for name, point in installed_trackers().items():
        # Trackers other than mot_core.trackers.Tracker store their name as a key, or as the format of the file.
        if wanted == point.attr or (wanted is None and (name in content or content.get("format") == name)):
            return name
    raise ValueError(
        f"--checkpoint: expected a checkpoint of an installed tracker, got one of {wanted or 'another kind'} in "
        f"{checkpoint}; name its tracker with --tracker"
    )


def takes_images(tracker: object) -> bool:
    """Whether ``tracker`` is a :class:`mot_core.trackers.Tracker`, which takes images; does not import that class.

    >>> from mot_core.association import Sort
    >>> takes_images(Sort)
    False
    """
    return callable(getattr(tracker, "from_checkpoint", None))


def build_tracker(
    tracker: Callable[..., Any],
    preset: str | None,
    settings: Mapping[str, Any],
    benchmark: str | None = None,
    sequence: str | None = None,
    frame_rate: float | None = None,
) -> Any:
    """Build a tracker with the parameters of ``preset``, overridden by ``settings``.

    A limit in seconds among ``settings`` (``max_seconds``) refers to the ``frame_rate`` of the sequence, if known.

    >>> from mot_core.association import ByteTrack
    >>> build_tracker(ByteTrack, "official", {"low_threshold": 0.2}, "MOT17", "MOT17-05-FRCNN").max_age
    14
    """
    if frame_rate and settings.get("max_seconds") is not None:
        settings = {"frame_rate": frame_rate, **settings}
    presets = getattr(tracker, "PRESETS", {})
    if preset is not None and preset not in presets:
        name = getattr(tracker, "__name__", tracker)
        raise ValueError(f"--preset: {name} has no preset {preset!r}; {suggest_name(preset, presets)}")
    if not presets:
        return tracker(**settings)
    base = tracker.preset(preset or "default", benchmark=benchmark, sequence=sequence)  # type: ignore[attr-defined]
    return tracker(**{**base.parameters(), **settings}) if settings else base
