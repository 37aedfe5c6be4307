"""Rules of each benchmark: which ground truth counts, and which results are removed before scoring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from mot_core.io.table import BoxTable

KITTI_CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person", "Cyclist", "Tram", "Misc", "DontCare")
DONT_CARE = KITTI_CLASSES.index("DontCare")


@dataclass(frozen=True)
class EvaluatedClass:
    """A class that is scored.

    Attributes:
        name: Name in the tables of the benchmark.
        number: Class number of its ground-truth rows. None means every row, regardless of its class.
        distractors: Class numbers of ground truth that need not be found and is not an error: results matched to it
            (IoU of at least 0.5) are removed before scoring.
    """

    name: str
    number: int | None
    distractors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """The official protocol of a benchmark as data.

    Attributes:
        name: Name as used with ``--benchmark``.
        source: Source of the rules.
        classes: Scored classes, each with its own scores.
        known_classes: Class numbers allowed in the ground truth. None means any.
        ignore_region_overlap: Fraction of the area of an unmatched result inside one ignore region
            (``gt/ignore.txt``; KITTI: DontCare) above which it is removed. None means no ignore regions.
        layout: Layout of files and folders, "mot" or "kitti".
        first_frame: Number of the first frame.
        min_height: Height in pixels up to which unmatched results are removed.
        max_occlusion: Occlusion level above which ground truth is treated as a distractor (KITTI).
        max_truncation: Truncation level above which ground truth is treated as a distractor (KITTI).

    In every MOT layout, ground truth with a conf column of 0 does not count.

    >>> BENCHMARKS["MOT17"].classes[0].distractors
    (2, 7, 8, 12)
    """

    name: str
    source: str
    classes: tuple[EvaluatedClass, ...]
    known_classes: frozenset[int] | None = None
    ignore_region_overlap: float | None = None
    layout: Literal["mot", "kitti"] = "mot"
    first_frame: int = 1
    min_height: float | None = None
    max_occlusion: int | None = None
    max_truncation: int | None = None

    @property
    def needs_class_column(self) -> bool:
        """Whether the ground truth must have classes."""
        return any(one.number is not None for one in self.classes)

    def counted(self, ground_truth: BoxTable) -> npt.NDArray[np.bool_]:
        """Return the mask ``(R,)`` of ground-truth rows that trackers should find, over all scored classes.

        >>> table = BoxTable([1, 1, 1], [1, 2, 3], np.zeros((3, 4)), scores=[1, 0, 1], classes=[1, 1, 7])
        >>> BENCHMARKS["MOT17"].counted(table), BENCHMARKS["generic"].counted(table)
        (array([ True, False, False]), array([ True, False,  True]))
        """
        # TrackEval truncates conf to an integer, so that 0.9 does not count either.
        mask = np.trunc(ground_truth.scores) != 0
        numbers = [one.number for one in self.classes if one.number is not None]
        if numbers:
            mask &= np.isin(ground_truth.classes, numbers)
        for limit, values in (
            (self.max_occlusion, ground_truth.occlusion),
            (self.max_truncation, ground_truth.truncation),
        ):
            if limit is not None and values is not None:
                mask &= values <= limit
        return mask


_MOT17 = Benchmark(
    "MOT17",
    "MOT16 paper (Milan et al. 2016), TrackEval MotChallenge2DBox: pedestrians; person on vehicle, static person, "
    "distractor and reflection are distractors",
    (EvaluatedClass("pedestrian", 1, (2, 7, 8, 12)),),
    known_classes=frozenset(range(1, 14)),
)
_MOT20 = replace(
    _MOT17,
    name="MOT20",
    source="MOT20 paper (Dendorfer et al. 2020), TrackEval MotChallenge2DBox: as MOT17, non-motorized vehicles are "
    "distractors too",
    classes=(EvaluatedClass("pedestrian", 1, (2, 7, 8, 12, 6)),),
)
_MOT15 = Benchmark(
    "MOT15",
    "MOTChallenge 2015 (Leal-Taixé et al. 2015), TrackEval MotChallenge2DBox: no classes, no distractors",
    (EvaluatedClass("pedestrian", None),),
)
_UAVDT = Benchmark(
    "UAVDT",
    "UAVDT (Du et al. 2018): vehicles without classes; results in ignore regions are not errors (overlap as KITTI)",
    (EvaluatedClass("vehicle", None),),
    ignore_region_overlap=0.5,
)
_KITTI = Benchmark(
    "KITTI",
    "KITTI tracking (Geiger et al. 2012), TrackEval Kitti2DBox: cars (distractors: vans) and pedestrians (distractors: "
    "sitting persons); objects with occlusion above 2 or truncation are distractors too",
    (EvaluatedClass("car", 0, (1,)), EvaluatedClass("pedestrian", 3, (4,))),
    known_classes=frozenset(range(len(KITTI_CLASSES))),
    ignore_region_overlap=0.5,
    layout="kitti",
    first_frame=0,
    min_height=25,
    max_occlusion=2,
    max_truncation=0,
)
_GENERIC = Benchmark(
    "generic",
    "user data: every row with nonzero conf counts; optional gt/ignore.txt as in UAVDT",
    (EvaluatedClass("object", None),),
    ignore_region_overlap=0.5,
)


def _as_mot17(name: str, class_name: str) -> Benchmark:
    source = f"{name} is scored with the rules of MOT17 (TrackEval MotChallenge2DBox); its ground truth is class 1"
    return replace(_MOT17, name=name, source=source, classes=(EvaluatedClass(class_name, 1, (2, 7, 8, 12)),))


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        _MOT15,
        replace(_MOT17, name="MOT16"),
        _MOT17,
        _MOT20,
        _as_mot17("DanceTrack", "dancer"),
        _as_mot17("SportsMOT", "player"),
        _as_mot17("BFT", "bird"),
        _as_mot17("BEE24", "bee"),
        _UAVDT,
        _KITTI,
        _GENERIC,
    )
}
"""Benchmarks by name; ``generic`` is for user data."""


def get_benchmark(name: str) -> Benchmark:
    """Return the benchmark called ``name``, case-insensitively.

    >>> get_benchmark("dancetrack").name
    'DanceTrack'
    """
    for benchmark in BENCHMARKS.values():
        if benchmark.name.lower() == name.lower():
            return benchmark
    raise ValueError(f"there is no benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
