"""Identity switches and their causes, from the boxes that count in each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from mot_core.boxes import pairwise_iou
from mot_core.evaluation.protocol import EPS, MATCH_IOU, Boxes, FramePair

Cause: TypeAlias = Literal["swap", "transfer", "return", "rejected", "gap", "unused box"]
CAUSES: dict[Cause, str] = {
    "swap": "two objects exchange their tracks",
    "transfer": "the new track comes from another object",
    "return": "the new track followed the object before",
    "rejected": "no gap: a new track starts although the old one was there one frame before",
    "gap": "a new track starts after frames without a track",
    "unused box": "a new track starts after frames in which a detection of the object was not used",
}
OCCLUDED = 0.3  # share of a box covered by another object from which it counts as occluded
GAPS = ((0, 0), (1, 5), (6, 30), (31, None))  # columns of the table: shortest and longest gap
CONTINUITY = 1000.0  # outweighs any IoU, so that a pair of the frame before stays matched


@dataclass(frozen=True)
class IdentitySwitch:
    """An identity switch as counted by CLEAR: an object is matched to another track than at its last match.

    Attributes:
        frame: Number of the frame in which the object has the new track.
        object: Identity of the object in the ground truth.
        old: Identity of the track at the last match.
        new: Identity of the track in ``frame``.
        cause: Key of :data:`CAUSES`.
        gap: Number of frames since the last match in which the object has no track.
        occluded: Whether another object covers at least 30 % of the object in one of the frames from its last match on.
        other: Object from which the new track comes, for swaps and transfers; otherwise None.
        sequence: Name of the sequence.
        label: Scored class.
    """

    frame: int
    object: int
    old: int
    new: int
    cause: Cause
    gap: int
    occluded: bool
    other: int | None = None
    sequence: str = ""
    label: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def find_switches(
    frames: Sequence[FramePair],
    numbers: Sequence[int] | None = None,
    *,
    detections: Callable[[int], Boxes] | None = None,
    sequence: str = "",
    label: str = "",
) -> list[IdentitySwitch]:
    """Find the identity switches of one sequence and classify their causes.

    Objects and tracks are matched as in CLEAR (Bernardin and Stiefelhagen 2008): at an IoU of at least 0.5, pairs of
    the frame before first, then by the largest sum of IoU. The first cause of :data:`CAUSES` that applies counts. A
    switch is a *swap* if the new track was last matched to another object, and the old track is next matched to it.

    Args:
        frames: Boxes that count in each frame.
        numbers: Frame numbers; by default 1, 2, ...
        detections: Function from a frame number to the boxes ``(N, 4)`` of the detector (xyxy, pixels), which separates
            "unused box" from "gap". An unused box overlaps the object by an IoU of at least 0.5, and no other object
            more. By default, all are gaps.
        sequence: Name of the sequence, for the result.
        label: Scored class, for the result.

    Returns:
        The switches in order of frames; their number is IDSW.

    Raises:
        ValueError: If ``frames`` and ``numbers`` differ in length.

    >>> here, there = [[0.0, 0.0, 10.0, 20.0]], [[50.0, 0.0, 60.0, 20.0]]
    >>> frames = [FramePair(np.array([1, 2]), np.array(here + there), np.array(ids), np.array(here + there))
    ...           for ids in ([7, 8], [7, 8], [8, 7])]
    >>> [(one.frame, one.object, one.cause, one.other) for one in find_switches(frames)]
    [(3, 1, 'swap', 2), (3, 2, 'swap', 1)]
    """
    times = list(range(1, len(frames) + 1)) if numbers is None else list(numbers)
    if len(times) != len(frames):
        raise ValueError(f"numbers: expected {len(frames)}, one per frame, got {len(times)}; pass the same frames")
    matches = list(_match_frames(frames))
    of_track: dict[int, list[tuple[int, int]]] = {}  # matches of a track as (position of the frame, object)
    for position, pairs in enumerate(matches):
        for truth, track in pairs:
            of_track.setdefault(track, []).append((position, truth))
    last: dict[int, tuple[int, int]] = {}  # last match of an object: position, track
    switches = []
    for position, pairs in enumerate(matches):
        for truth, new in pairs:
            before, old = last.get(truth, (position, new))
            if old != new:
                earlier = [one for at, one in of_track[new] if at < position]
                later = [one for at, one in of_track[old] if at > before]
                gap = position - before - 1
                window = range(before, position + 1)
                cause: Cause
                other = None
                if earlier and earlier[-1] != truth:
                    other = earlier[-1]
                    cause = "swap" if later and later[0] == other else "transfer"
                elif earlier:
                    cause = "return"
                elif gap == 0:
                    cause = "rejected"
                elif detections is not None and any(
                    _has_box(frames[at], truth, detections(times[at])) for at in window[1:-1]
                ):
                    cause = "unused box"
                else:
                    cause = "gap"
                hidden = any(_covered(frames[at], truth) >= OCCLUDED for at in window)
                switches.append(
                    IdentitySwitch(times[position], truth, old, new, cause, gap, hidden, other, sequence, label)
                )
            last[truth] = (position, new)
    return switches


def print_switches(switches: Sequence[IdentitySwitch], console: Console) -> None:
    """Print the causes of identity switches as a table, followed by the list of all switches.

    >>> switch = IdentitySwitch(12, 3, 7, 9, "gap", 4, True, sequence="street")
    >>> print_switches([switch], Console(width=100, force_terminal=True, color_system=None))
    identity switches by cause
    ┏━━━━━━━┳━━━━━━━━━━┳━━━━━━━┳━━━━━━━━━━┳━━━━━━━┳━━━━━┳━━━━━━┳━━━━━┓
    ┃ cause ┃ switches ┃     % ┃ occluded ┃ gap 0 ┃ 1-5 ┃ 6-30 ┃ 31- ┃
    ┡━━━━━━━╇━━━━━━━━━━╇━━━━━━━╇━━━━━━━━━━╇━━━━━━━╇━━━━━╇━━━━━━╇━━━━━┩
    │ gap   │        1 │ 100.0 │        1 │     0 │   1 │    0 │   0 │
    ├───────┼──────────┼───────┼──────────┼───────┼─────┼──────┼─────┤
    │ all   │        1 │ 100.0 │        1 │     0 │   1 │    0 │   0 │
    └───────┴──────────┴───────┴──────────┴───────┴─────┴──────┴─────┘
    gap: a new track starts after frames without a track
    street frame 12: object 3, track 7 -> 9, gap (4 frames, occluded)
    """
    if not switches:
        console.print("no identity switches")
        return
    table = Table(title="identity switches by cause", title_justify="left")
    table.add_column("cause", no_wrap=True)
    for column in ("switches", "%", "occluded", "gap 0", *(f"{low}-{high or ''}" for low, high in GAPS[1:])):
        table.add_column(column, justify="right", no_wrap=True)
    found = [cause for cause in CAUSES if any(one.cause == cause for one in switches)]
    for cause in found:
        table.add_row(cause, *_counts([one for one in switches if one.cause == cause], len(switches)))
    table.add_section()
    table.add_row("all", *_counts(switches, len(switches)), style="bold")
    console.print(table)
    for cause in found:
        console.print(f"{cause}: {CAUSES[cause]}", soft_wrap=True, highlight=False)
    for one in switches:
        where = " ".join(filter(None, (one.sequence, one.label)))
        notes = [f"{one.gap} frame{'s' * (one.gap != 1)}"] if one.gap else []
        notes += [f"with object {one.other}"] if one.cause == "swap" else []
        notes += [f"from object {one.other}"] if one.cause == "transfer" else []
        notes += ["occluded"] if one.occluded else []
        more = f" ({', '.join(notes)})" if notes else ""
        text = f"{where} frame {one.frame}: object {one.object}, track {one.old} -> {one.new}, {one.cause}{more}"
        console.print(text.strip(), soft_wrap=True, highlight=False, markup=False)


def _counts(switches: Sequence[IdentitySwitch], total: int) -> list[str]:
    gaps = [sum(low <= one.gap <= (one.gap if high is None else high) for one in switches) for low, high in GAPS]
    occluded = sum(one.occluded for one in switches)
    return [str(len(switches)), f"{100 * len(switches) / total:.1f}", str(occluded), *map(str, gaps)]


def _match_frames(frames: Iterable[FramePair]) -> Iterable[list[tuple[int, int]]]:
    """Yield the matched (object, track) pairs of each frame as CLEAR of TrackEval does."""
    previous: dict[int, int] = {}
    for frame in frames:
        if not len(frame.gt_ids) or not len(frame.ids):
            yield []  # TrackEval keeps the pairs of the last frame that has both
            continue
        similarity = frame.similarity()
        expected = np.array([previous.get(one, -1) for one in frame.gt_ids.tolist()])
        gain = similarity + CONTINUITY * (expected[:, None] == frame.ids)
        gain[similarity < MATCH_IOU - EPS] = 0.0
        rows, columns = linear_sum_assignment(-gain)
        matched = gain[rows, columns] > EPS
        pairs = zip(frame.gt_ids[rows[matched]].tolist(), frame.ids[columns[matched]].tolist(), strict=True)
        previous = dict(pairs)
        yield list(previous.items())


def _box(frame: FramePair, truth: int) -> tuple[Boxes, Boxes]:
    """Return the box ``(1, 4)`` of an object, or ``(0, 4)`` if it is absent, and those of the other objects."""
    own: npt.NDArray[np.bool_] = frame.gt_ids == truth
    return frame.gt_boxes_xyxy[own], frame.gt_boxes_xyxy[~own]


def _covered(frame: FramePair, truth: int) -> float:
    """Return the largest share of the object's box that one other object covers."""
    own, others = _box(frame, truth)
    if not len(own) or not len(others):
        return 0.0
    low, high = np.maximum(own[:, :2], others[:, :2]), np.minimum(own[:, 2:], others[:, 2:])
    area = float((own[0, 2:] - own[0, :2]).prod())
    return float(np.maximum(high - low, 0).prod(1).max()) / max(area, EPS)


def _has_box(frame: FramePair, truth: int, boxes: Boxes) -> bool:
    own, others = _box(frame, truth)
    if not len(own) or not len(boxes):
        return False
    overlap = pairwise_iou(own, boxes)[0]
    rival = pairwise_iou(others, boxes).max(0) if len(others) else np.zeros(len(boxes))
    return bool(((overlap >= MATCH_IOU - EPS) & (overlap >= rival)).any())
