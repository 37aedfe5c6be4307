"""Selection of the boxes that count: the preprocessing of every benchmark before scoring.

The steps are those of the official evaluation code (TrackEval's dataset classes), on the arrays of one frame:

1. results matched to a distractor (IoU of at least 0.5, Hungarian matching) are removed;
2. unmatched results that are too low or mostly inside an ignore region are removed;
3. ground truth that does not count is removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from mot_core.boxes import pairwise_iou
from mot_core.io.benchmarks import Benchmark, EvaluatedClass
from mot_core.io.table import BoxTable

Ids = npt.NDArray[np.int64]
Boxes = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

EPS = float(np.finfo(np.float64).eps)  # the comparisons below are bit-identical to TrackEval's
MATCH_IOU = 0.5


@dataclass(frozen=True, eq=False)
class FramePair:
    """Ground truth and results of one frame, as passed to the metrics.

    Attributes:
        gt_ids: Identities of the ground truth that counts, of shape ``(G,)``.
        gt_boxes_xyxy: Boxes of the ground truth in pixels, of shape ``(G, 4)``.
        ids: Identities of the results that count, of shape ``(N,)``.
        boxes_xyxy: Boxes of the results in pixels, of shape ``(N, 4)``.
    """

    gt_ids: Ids
    gt_boxes_xyxy: Boxes
    ids: Ids
    boxes_xyxy: Boxes

    def similarity(self) -> npt.NDArray[np.float64]:
        """Return the IoU of every pair, ``(G, N)``."""
        iou: npt.NDArray[np.float64] = pairwise_iou(self.gt_boxes_xyxy, self.boxes_xyxy)
        return iou


def roles(ground_truth: BoxTable, benchmark: Benchmark, evaluated: EvaluatedClass) -> tuple[Mask, Mask, Mask]:
    """Return the roles of ground-truth rows when one class is scored.

    Args:
        ground_truth: Rows of any frames.
        benchmark: Rules of the benchmark.
        evaluated: Scored class, one of ``benchmark.classes``.

    Returns:
        Three masks of shape ``(R,)``: rows that take part in the matching, rows that are scored, and distractors, which
        remove the results matched to them.

    >>> from mot_core.io import BENCHMARKS, BoxTable
    >>> table = BoxTable([1, 1, 1], [1, 2, 3], np.zeros((3, 4)), scores=[1, 0, 0], classes=[1, 7, 9])
    >>> for mask in roles(table, BENCHMARKS["MOT17"], BENCHMARKS["MOT17"].classes[0]):
    ...     print(mask)
    [ True  True  True]
    [ True False False]
    [False  True False]
    """
    counted = benchmark.counted(ground_truth)
    if evaluated.number is None:
        return counted, counted, np.zeros(len(counted), bool)
    counted &= ground_truth.classes == evaluated.number
    distractor = np.isin(ground_truth.classes, evaluated.distractors)
    if benchmark.layout == "mot":  # every row takes part, regardless of its class
        return np.ones(len(counted), bool), counted, distractor
    present = distractor | (ground_truth.classes == evaluated.number)
    return present, counted, present & ~counted


def prepare_frame(
    gt_ids: Ids,
    gt_boxes_xyxy: Boxes,
    ids: Ids,
    boxes_xyxy: Boxes,
    *,
    counted: Mask,
    distractor: Mask,
    benchmark: Benchmark,
    ignore_boxes_xyxy: Boxes | None = None,
) -> FramePair:
    """Remove the boxes of one frame that do not count.

    Args:
        gt_ids: Identities of the ground truth that takes part (:func:`roles`), of shape ``(G,)``.
        gt_boxes_xyxy: Boxes of this ground truth, of shape ``(G, 4)``.
        ids: Identities of the results, of shape ``(N,)``.
        boxes_xyxy: Boxes of the results, of shape ``(N, 4)``.
        counted: Mask of shape ``(G,)`` of rows that are scored.
        distractor: Mask of shape ``(G,)`` of rows whose matched results are neither right nor wrong.
        benchmark: Rules for unmatched results.
        ignore_boxes_xyxy: Ignore regions of the frame, of shape ``(R, 4)``.

    Returns:
        Boxes that count.

    >>> from mot_core.io import BENCHMARKS
    >>> person, bicycle = [0., 0., 10., 20.], [50., 0., 60., 20.]
    >>> pair = prepare_frame(
    ...     np.array([1, 2]), np.array([person, bicycle]), np.array([7, 8]), np.array([person, bicycle]),
    ...     counted=np.array([True, False]), distractor=np.array([False, True]), benchmark=BENCHMARKS["MOT20"],
    ... )
    >>> pair.gt_ids, pair.ids
    (array([1]), array([7]))
    """
    regions = None if benchmark.ignore_region_overlap is None else ignore_boxes_xyxy
    judges_unmatched = benchmark.min_height is not None or (regions is not None and len(regions) > 0)
    keep = np.ones(len(ids), bool)
    unmatched = np.ones(len(ids), bool)
    if len(gt_ids) and len(ids) and (judges_unmatched or distractor.any()):
        rows, columns = _match(pairwise_iou(gt_boxes_xyxy, boxes_xyxy))
        keep[columns[distractor[rows]]] = False
        unmatched[columns] = False
    if benchmark.min_height is not None:
        keep &= ~(unmatched & (boxes_xyxy[:, 3] - boxes_xyxy[:, 1] <= benchmark.min_height + EPS))
    if benchmark.ignore_region_overlap is not None and regions is not None and len(regions):
        inside = _share_inside(boxes_xyxy, regions) > benchmark.ignore_region_overlap + EPS
        keep &= ~(unmatched & inside.any(1))
    return FramePair(gt_ids[counted], gt_boxes_xyxy[counted], ids[keep], boxes_xyxy[keep])


def _match(iou: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    scores = np.where(iou < MATCH_IOU - EPS, 0.0, iou)
    rows, columns = linear_sum_assignment(-scores)
    matched = scores[rows, columns] > EPS
    return rows[matched], columns[matched]


def _share_inside(boxes_xyxy: Boxes, regions_xyxy: Boxes) -> npt.NDArray[np.float64]:
    """Return the fraction of the area of every box in every region, ``(N, R)``; 0 for boxes without area."""
    low = np.maximum(boxes_xyxy[:, None, :2], regions_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], regions_xyxy[None, :, 2:])
    size = np.maximum(high - low, 0)
    area = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    share: npt.NDArray[np.float64] = size[..., 0] * size[..., 1] / np.where(area > EPS, area, np.inf)[:, None]
    return share
