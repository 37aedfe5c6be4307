"""Trackers to compare with: a module and a requirements file per package, run in its own environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Peer:
    """Interface to one tracker.

    Attributes:
        start: Function that builds a tracker and returns its update of a prepared frame. Only this update is timed.
        prepare: Function that converts boxes ``(N, 4)`` xyxy and scores ``(N,)``, both float32, to the tracker's input.
        read: Function that converts the output of an update to identities ``(K,)`` and boxes ``(K, 4)``.
        parameters: Parameter values of the tracker by name.
    """

    start: Callable[[], Step]
    prepare: Callable[[Any, Any], Any]
    read: Callable[[Any], tuple[Any, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
