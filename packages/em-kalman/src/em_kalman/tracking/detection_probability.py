"""Detection probability of tracks, estimated by running the tracker on unlabeled detections."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from em_kalman.detections.window import WindowBatch
from em_kalman.model import NeuralKalmanFilter
from em_kalman.tracking.tracker import HITS, NEW, EMKalmanTracker
from mot_core.association.base import TrackTable
from mot_core.association.frame_detections import Floats, Integers

PASSES = 2  # the second pass uses the estimate of the first


@torch.no_grad()
def learn_detection_probability(model: NeuralKalmanFilter, windows: Dataset[WindowBatch]) -> None:
    """Set ``model.detection_probability``, the probability that a track is detected in the next frame, by its status.

    The entries are for tracks that were detected in the previous frame, for lost tracks, and for new tracks with a
    single detection. A model that cannot track, because it has no dustbin or a motion model that trackers do not
    support (:meth:`em_kalman.MotionModel.for_trackers`), is left unchanged.

    Args:
        model: Trained model; modified in place.
        windows: Dataset of windows, such as :class:`em_kalman.WindowSampler`; the tracker runs over the frames of each.

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
            embeddings = window.embeddings.flatten(0, 1) if model.embeddings and window.embeddings is not None else None
            for frame, real in enumerate(valid):
                given = None if embeddings is None else embeddings[frame, real]
                counting.update(boxes[frame, real].cpu().numpy(), np.ones(int(real.sum())), embeddings=given)
        # Laplace smoothing: 0.5 for a status that never occurred.
        model.detection_probability.copy_(torch.from_numpy((counting.found + 1) / (counting.predicted + 2)))


class _Counting(EMKalmanTracker):
    """Tracker that counts the tracks of each status, and those that were matched."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.predicted, self.found = np.zeros(3), np.zeros(3)

    def _match(self, table: TrackTable, gain: Floats, status: Integers) -> tuple[Integers, Integers]:
        columns, rows = super()._match(table, gain, status)
        # Clutter of the first frame becomes a track without confirmation and would bias the count.
        counted = (status == NEW) | (table.labels[HITS] > self.min_hits)
        self.predicted += np.bincount(status[counted], minlength=3)
        self.found += np.bincount(status[columns][counted[columns]], minlength=3)
        return columns, rows
