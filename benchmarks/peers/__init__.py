"""The trackers under test: one module and one requirements file for each package, run in its own environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Step = Callable[[Any], Any]


@dataclass(frozen=True)
class Peer:
    """How one tracker is driven.

    Attributes:
        start: makes a new tracker and returns its update of one prepared frame. Only this update is timed.
        prepare: boxes ``(N, 4)`` xyxy and scores ``(N,)``, both float32, in the form the tracker takes.
        read: the output of an update as identities ``(K,)`` and boxes ``(K, 4)``.
        parameters: the values the tracker runs with, by name.
    """

    start: Callable[[], Step]
    prepare: Callable[[Any, Any], Any]
    read: Callable[[Any], tuple[Any, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
