"""How often tracks are detected, counted where the tracker follows unlabelled detections."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from em_kalman.detections.window import WindowBatch
from em_kalman.model import NeuralKalmanFilter
from em_kalman.tracking.tracker import HITS, NEW, EMKalmanTracker
from mot_core.association.base import TrackTable
from mot_core.association.frame_detections import FrameDetections, Integers

PASSES = 2  # the second one knows what the first one found


@torch.no_grad()
def learn_detection_probability(model: NeuralKalmanFilter, windows: Dataset[WindowBatch]) -> None:
    """Sets ``model.detection_probability``: the share of tracks found in the next frame, by track status.

    The first is of tracks that were seen in the frame before, the second of those that were lost, the third of those
    that are a single detection. A model that cannot track, without a dustbin or with a motion that trackers do not take
    (:meth:`em_kalman.MotionModel.for_trackers`), stays as it is.

    Args:
        model: a trained model.
        windows: such as :class:`em_kalman.WindowSampler`; of each only the frames are used, one after the other.

    >>> from em_kalman import DetectionSequence, WindowSampler
    >>> from mot_core.io import make_scene
    >>> scene = make_scene(num_objects=6, num_frames=20)
    >>> street = DetectionSequence("street", scene.detections, range(1, 21), scene.image_size)
    >>> model = NeuralKalmanFilter()
    >>> learn_detection_probability(model, WindowSampler([street]))
    >>> model.detection_probability.shape
    torch.Size([3])
    """
    if model.dustbin is None or not model.motion.fits_trackers:
        return
    model.detection_probability.fill_(1.0)
    for _ in range(PASSES):
        counting = _Counting(model=model)
        for index in range(len(windows)):  # type: ignore[arg-type]
            window = windows[index]
            counting.reset()
            boxes, valid = window.boxes_xyxy.flatten(0, 1), window.valid.flatten(0, 1)
            valid = valid & (boxes[..., 2:] > boxes[..., :2]).all(-1)
            looks = window.embeddings.flatten(0, 1) if model.embeddings and window.embeddings is not None else None
            for frame, real in enumerate(valid):
                given = None if looks is None else looks[frame, real]
                counting.update(boxes[frame, real].cpu().numpy(), np.ones(int(real.sum())), embeddings=given)
        # One of two for what never came.
        model.detection_probability.copy_(torch.from_numpy((counting.found + 1) / (counting.asked + 2)))


class _Counting(EMKalmanTracker):
    """Counts the tracks of each standing, and those that found a detection."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked, self.found = np.zeros(3), np.zeros(3)

    def _match(self, table: TrackTable, frame: FrameDetections, standing: Integers) -> tuple[Integers, Integers]:
        columns, rows = super()._match(table, frame, standing)
        # In the first frame clutter becomes a track as well, which is never found again.
        counted = (standing == NEW) | (table.labels[HITS] > self.min_hits)
        self.asked += np.bincount(standing[counted], minlength=3)
        self.found += np.bincount(standing[columns][counted[columns]], minlength=3)
        return columns, rows
