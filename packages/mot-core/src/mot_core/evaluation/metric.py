"""HOTA, CLEAR and Identity as ``torchmetrics.Metric``, updated frame by frame inside a validation step."""

from __future__ import annotations

import hashlib
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch

from mot_core.evaluation._inputs import frame_table, ignore_boxes
from mot_core.evaluation._record import Key, Record, Words, key_of, pack, split, unpack
from mot_core.evaluation._trackeval import FAMILIES
from mot_core.evaluation.scores import HEADLINES, Scores, score_frames
from mot_core.evaluation.sequence import check_classes, nothing_counts, prepare_frames
from mot_core.extras import needs
from mot_core.io.benchmarks import Benchmark, get_benchmark
from mot_core.structures import Array

with needs("torchmetrics", "eval", "scoring while training"):
    from torchmetrics import Metric


class TrackingMetrics(Metric):
    """HOTA, CLEAR and Identity in one pass, equal to TrackEval on the same frames.

    Call :meth:`update` once per frame, in any order; :meth:`compute` returns a dictionary for ``log_dict``, with ratios
    in percent. The state is keyed by sequence and frame: a frame repeated with the same boxes (a distributed sampler
    repeats some to balance its ranks) counts once; a frame repeated with other boxes is an error. With several
    processes, all frames are gathered before scoring. A frame takes 40 bytes per box.

    Args:
        benchmark: Rules that determine what counts (key of :data:`mot_core.io.BENCHMARKS`). "generic" counts
            everything, which suits data sets that filter their ground truth. KITTI is scored from files only.
        **kwargs: Arguments of every ``torchmetrics.Metric``.

    >>> metric = TrackingMetrics()
    >>> box = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    >>> for frame, identity in enumerate([5, 5, 6, 6], start=1):  # one person, whose identity switches
    ...     metric.update("clip", frame, ids=[identity], boxes_xyxy=box, gt_ids=[1], gt_boxes_xyxy=box)
    >>> scores = metric.compute()
    >>> round(scores["HOTA"].item(), 2), scores["MOTA"].item(), scores["IDF1"].item(), scores["IDSW"].item()
    (70.71, 75.0, 50.0, 1.0)
    """

    is_differentiable = False
    full_state_update = False
    families: ClassVar[tuple[str, ...]] = FAMILIES

    frames: list[torch.Tensor] | torch.Tensor  # torchmetrics leaves a tensor after gathering

    def __init__(self, benchmark: str | Benchmark = "generic", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.benchmark = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
        if len(self.benchmark.classes) > 1:
            raise ValueError(
                f"benchmark: {self.benchmark.name} scores several classes, a metric only one; score its files with "
                "mot_core.evaluation.evaluate"
            )
        self.add_state("frames", default=[], dist_reduce_fx="cat")
        self._digests: dict[Key, bytes] = {}  # digests of the frames in the state, in their order

    def update(
        self,
        sequence: str,
        frame: int,
        ids: Array,
        boxes_xyxy: Array,
        gt_ids: Array,
        gt_boxes_xyxy: Array,
        *,
        gt_classes: Array | None = None,
        gt_scores: Array | None = None,
        ignore_boxes_xyxy: Array | None = None,
    ) -> None:
        """Add one frame, including frames without boxes, as arrays, tensors of any device and dtype, or lists.

        Args:
            sequence: Name of the sequence.
            frame: Frame number in the sequence.
            ids: Predicted identities of shape ``(N,)``, 0 or more.
            boxes_xyxy: Predicted boxes of shape ``(N, 4)`` in pixels.
            gt_ids: True identities of shape ``(G,)``, 0 or more.
            gt_boxes_xyxy: True boxes of shape ``(G, 4)`` in pixels.
            gt_classes: True classes of shape ``(G,)``, for benchmarks with distractors (such as MOT17).
            gt_scores: Conf column of the ground truth, of shape ``(G,)``: rows with 0 do not count.
            ignore_boxes_xyxy: Regions of shape ``(R, 4)`` in which unmatched predictions are not false positives.

        Raises:
            ValueError: If lengths or shapes do not match, a box is not finite, an identity is negative or occurs twice,
                a class is unknown to the benchmark, or the frame was added before with other boxes.
            TypeError: If identities are not integers, or ``sequence`` is not a string.
        """
        if not isinstance(sequence, str):  # data loaders collate names into lists
            raise TypeError(f"sequence must be the name of one sequence, got {sequence!r}; call update for each frame")
        key = Key(sequence, int(frame))
        where = f"in frame {key.frame} of {key.sequence!r}"
        results = frame_table(key.frame, ids, boxes_xyxy, "", where)
        truth = frame_table(key.frame, gt_ids, gt_boxes_xyxy, "gt_", where, scores=gt_scores, classes=gt_classes)
        if self.benchmark.needs_class_column and gt_classes is None and len(truth):
            raise ValueError(
                f"gt_classes {where}: {self.benchmark.name} needs the classes of all ground truth, distractors "
                "included; for filtered ground truth, use benchmark='generic'"
            )
        check_classes(truth, self.benchmark, f"gt_classes {where}")
        regions = ignore_boxes(key.frame, ignore_boxes_xyxy, where)
        only = range(key.frame, key.frame + 1)
        (pair,) = prepare_frames(truth, results, regions, self.benchmark, self.benchmark.classes[0], only)
        self._add(key, pack(Record(key, len(truth), pair)))

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Call :meth:`update`; returns None, because a single frame has no tracking score."""
        self.update(*args, **kwargs)

    def compute(self) -> dict[str, torch.Tensor]:
        """Return the headline metrics over all sequences, ratios in percent, as float64 tensors (float32 on MPS).

        Without any ground truth, ratios are NaN.

        Raises:
            ValueError: If ground truth was given, but none of it counts under the rules of the benchmark.
        """
        sequences = self._score()
        combined = Scores.combine(sequences.values()) if sequences else {}
        undefined = not combined or combined["GT_Dets"] == 0
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        values = {}
        for name in (name for family in self.families for name in HEADLINES.get(family, ())):
            value = combined.get(name, float("nan"))
            values[name] = float("nan") if undefined and isinstance(value, float) else value
        return {name: torch.tensor(value, dtype=dtype, device=self.device) for name, value in values.items()}

    def per_sequence(self) -> dict[str, Scores]:
        """Return every field of every sequence by name; with several processes, all of them must call it.

        >>> metric = TrackingMetrics()
        >>> metric.update("clip", 1, [5], [[0, 0, 10, 20]], [1], [[0, 0, 10, 20]])
        >>> metric.per_sequence()["clip"]["CLR_TP"]
        1
        """
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync, should_unsync=self._should_unsync
        ):
            return self._score()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the frames of all processes."""
        if isinstance(self.frames, list) and not self.frames:
            # torchmetrics would send an empty float tensor, which other processes cannot receive as integers.
            self.frames = [torch.zeros(0, dtype=torch.int64, device=self.device)]
        super().sync(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._digests = {}

    def _add(self, key: Key, words: Words) -> None:
        if not isinstance(self.frames, list) or len(self._digests) != len(self.frames):  # changed from outside
            known = _distinct(self.frames)
            self._digests = {key: _digest(words) for key, words in known.items()}
            self.frames = [self._tensor(words) for words in known.values()]
        digest = _digest(words)
        if self._digests.setdefault(key, digest) != digest:
            raise ValueError(_contradiction(key))
        if len(self._digests) > len(self.frames):
            self.frames.append(self._tensor(words))

    def _tensor(self, words: Words) -> torch.Tensor:
        return torch.from_numpy(words).to(self.device)

    def _score(self) -> dict[str, Scores]:
        frames = _distinct(self.frames)
        records = [record for key in sorted(frames) for record in unpack(frames[key])]
        rows = sum(record.raw_rows for record in records)
        if rows and not any(len(record.pair.gt_ids) for record in records):
            raise ValueError(nothing_counts("the ground truth given to update", rows, self.benchmark))
        return {
            sequence: score_frames([record.pair for record in group], self.families)
            for sequence, group in groupby(records, lambda record: record.key.sequence)
        }


class HOTA(TrackingMetrics):
    """HOTA with its parts DetA, AssA and LocA (Luiten et al. 2020, arXiv:2009.07736); see :class:`TrackingMetrics`.

    ``HOTA_alpha = sqrt(DetA_alpha AssA_alpha)``, averaged over the localization thresholds 0.05, 0.10, ..., 0.95.

    >>> metric = HOTA()
    >>> metric.update("clip", 1, [5], [[0, 0, 10, 20]], [1], [[0, 0, 10, 20]])
    >>> metric.compute()["HOTA"]
    tensor(100., dtype=torch.float64)
    """

    families = ("HOTA", "Count")


class CLEAR(TrackingMetrics):
    """MOTA and its counts (Bernardin and Stiefelhagen 2008); see :class:`TrackingMetrics`.

    ``MOTA = 1 - (FN + FP + IDSW) / GT``.

    >>> metric = CLEAR()
    >>> metric.update("clip", 1, [5], [[0, 0, 10, 20]], [1, 2], [[0, 0, 10, 20], [30, 0, 40, 20]])
    >>> metric.compute()["MOTA"]
    tensor(50., dtype=torch.float64)
    """

    families = ("CLEAR", "Count")


class Identity(TrackingMetrics):
    """IDF1, IDP and IDR (Ristani et al. 2016, arXiv:1609.01775); see :class:`TrackingMetrics`.

    ``IDF1 = 2 IDTP / (2 IDTP + IDFP + IDFN)``.

    >>> metric = Identity()
    >>> metric.update("clip", 1, [5], [[0, 0, 10, 20]], [1, 2], [[0, 0, 10, 20], [30, 0, 40, 20]])
    >>> metric.compute()["IDR"]
    tensor(50., dtype=torch.float64)
    """

    families = ("Identity", "Count")


def _distinct(frames: list[torch.Tensor] | torch.Tensor) -> dict[Key, Words]:
    """Return the records in a state without repetitions."""
    if isinstance(frames, list):
        frames = torch.cat(frames) if frames else torch.zeros(0, dtype=torch.int64)
    known: dict[Key, Words] = {}
    for words in split(frames.cpu().numpy()):
        key = key_of(words)
        if not np.array_equal(known.setdefault(key, words), words):
            raise ValueError(_contradiction(key))
    return known


def _digest(words: Words) -> bytes:
    return hashlib.blake2b(words.tobytes(), digest_size=16).digest()


def _contradiction(key: Key) -> str:
    return (
        f"frame {key.frame} of {key.sequence!r} was given twice with different boxes or identities; "
        "give every sequence its own name, and call reset() before the next epoch"
    )
