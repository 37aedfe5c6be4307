"""Learned motion noise, stored in a file that the trackers read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from mot_core.association.kalman import MotionNoise
from mot_core.io.atomic import open_atomic
from mot_core.io.documents import read_json

FORMAT, VERSION, SCALE = "mot_motion", 1, "height"
NUMBERS = ("dt", "q", "r", "p0", "v0")


@dataclass(frozen=True)
class LearnedMotion:
    """Variances of the center of a box and of its velocity, in square box heights.

    Per frame, the center moves by ``dt`` times its velocity. The filters of the online trackers measure velocity per
    frame, which is ``dt`` times this one, so their variances of the velocity are ``dt^2`` times these.

    Attributes:
        q: Variance added to the velocity per frame. Higher values follow turns faster but smooth less.
        r: Variance of a detected center.
        p0: Variance of the center of a new track.
        v0: Variance of the velocity of a new track.
        dt: Time between frames.
        trained_on: Free-text description of the training data.
        q_position: Variance added to the center per frame, in addition to its velocity; 0 in files without it.

    Raises:
        ValueError: If a number is not finite, or not positive (``q_position`` may be 0).

    >>> LearnedMotion(q=1e-4, r=4e-4, p0=4e-4, v0=1e-2).r
    0.0004
    """

    q: float
    r: float
    p0: float
    v0: float
    dt: float = 1.0
    trained_on: str = ""
    q_position: float = 0.0

    def __post_init__(self) -> None:
        for name in (*NUMBERS, "q_position"):
            value = getattr(self, name)
            zero = name == "q_position" and value == 0
            if isinstance(value, bool) or not isinstance(value, int | float) or not (zero or 0 < value < math.inf):
                rule = "a finite number >= 0" if name == "q_position" else "a positive finite number"
                raise ValueError(f"{name} must be {rule}, got {value!r}")

    def noise(self, base: MotionNoise) -> MotionNoise:
        """Return ``base`` with this noise of center and velocity; the two size coordinates keep theirs.

        >>> from mot_core.association.kalman import SORT_NOISE
        >>> noise = LearnedMotion(q=1e-4, r=4e-4, p0=4e-4, v0=1e-2, dt=0.5).noise(SORT_NOISE)
        >>> noise.measurement[0], noise.process_velocity[0], noise.measurement[2] == SORT_NOISE.measurement[2]
        ((0.02, 0.0), (0.005, 0.0), True)
        """
        variances = {
            "process": self.q_position,
            "process_velocity": self.dt**2 * self.q,
            "measurement": self.r,
            "initial": self.p0,
            "initial_velocity": self.dt**2 * self.v0,
        }
        changes: dict[str, Any] = {
            name: ((math.sqrt(variance), 0.0),) * 2 + tuple(getattr(base, name)[2:])
            for name, variance in variances.items()
        }
        return replace(base, **changes)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the values as JSON.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "motion.json"
        >>> LearnedMotion(q=1e-4, r=4e-4, p0=4e-4, v0=1e-2, trained_on="our street").save(path)
        >>> read_motion(path).trained_on
        'our street'
        """
        numbers = {name: getattr(self, name) for name in (*NUMBERS, "q_position")}
        content = {"format": FORMAT, "version": VERSION, "scale": SCALE, **numbers, "trained_on": self.trained_on}
        with open_atomic(path) as file:
            file.write(json.dumps(content, indent=2) + "\n")


def read_motion(path: str | PathLike[str]) -> LearnedMotion:
    """Read a file written by :meth:`LearnedMotion.save`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a motion file; the message names the line or field at fault.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "motion.json"
    >>> LearnedMotion(q=1e-4, r=4e-4, p0=4e-4, v0=1e-2).save(path)
    >>> read_motion(path).v0
    0.01
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file; mot em-kalman learn-motion writes one from detections")
    content = read_json(path)
    fixed = {"format": FORMAT, "version": VERSION, "scale": SCALE}
    for name, wanted in fixed.items():
        found = content.get(name) if isinstance(content, dict) else None
        if found != wanted:
            raise ValueError(f"{path}: expected {json.dumps(name)}: {json.dumps(wanted)}, got {json.dumps(found)}")
    missing = [name for name in NUMBERS if name not in content]
    if missing:
        raise ValueError(f"{path}: {missing[0]} is missing; a motion file needs {', '.join(NUMBERS)}")
    try:
        numbers = {name: content[name] for name in NUMBERS} | {"q_position": content.get("q_position", 0.0)}
        return LearnedMotion(**numbers, trained_on=str(content.get("trained_on", "")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
