"""The rules of each benchmark: which ground truth counts and which results are taken out before scoring."""

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
    """One class that is scored.

    Attributes:
        name: as in the tables of the benchmark.
        number: class number of its ground-truth rows; None: every row, whatever its class.
        distractors: class numbers of ground truth that is neither to be found nor an error: a result that is matched
            to it (IoU at least 0.5) is taken out before scoring.
    """

    name: str
    number: int | None
    distractors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """The official protocol of a benchmark as data.

    Attributes:
        name: as written after ``--benchmark``.
        source: where the rules come from.
        classes: the classes scored, one block of numbers each.
        known_classes: class numbers that may stand in the ground truth; None: any.
        ignore_region_overlap: a result that matches no ground truth is taken out when more than this share of its area
            lies in one ignore region (``gt/ignore.txt``; KITTI: DontCare); None: there are no ignore regions.
        layout: ``"mot"`` or ``"kitti"``, the files and folders.
        first_frame: number of the first frame.
        min_height: a result that matches no ground truth is taken out when it is not higher than this (pixels).
        max_occlusion, max_truncation: ground truth above it is treated as a distractor (KITTI).

    In every MOT layout, ground truth whose conf column is 0 does not count.

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
        """Whether the ground truth must tell classes."""
        return any(one.number is not None for one in self.classes)

    def counted(self, ground_truth: BoxTable) -> npt.NDArray[np.bool_]:
        """The rows ``(R,)`` of a ground truth that trackers are expected to find, over all scored classes.

        >>> table = BoxTable([1, 1, 1], [1, 2, 3], np.zeros((3, 4)), scores=[1, 0, 1], classes=[1, 1, 7])
        >>> BENCHMARKS["MOT17"].counted(table), BENCHMARKS["generic"].counted(table)
        (array([ True, False, False]), array([ True, False,  True]))
        """
        # TrackEval cuts conf to an integer, so that 0.9 does not count either.
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
    source="MOT20 paper (Dendorfer et al. 2020), TrackEval MotChallenge2DBox: as MOT17, non-motorised vehicles are "
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
    "KITTI tracking (Geiger et al. 2012), TrackEval Kitti2DBox: cars with vans and pedestrians with sitting persons as "
    "distractors, as is what is occluded above 2 or truncated",
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
    "people's own data: every row whose conf is not 0 counts; optional gt/ignore.txt as in UAVDT",
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
"""The benchmarks by name; `generic` is the choice for people's own data."""


def get_benchmark(name: str) -> Benchmark:
    """The benchmark called ``name``, upper or lower case.

    >>> get_benchmark("dancetrack").name
    'DanceTrack'
    """
    for benchmark in BENCHMARKS.values():
        if benchmark.name.lower() == name.lower():
            return benchmark
    raise ValueError(f"there is no benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}")
