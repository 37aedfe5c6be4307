"""The learned association as the cost of another tracker."""

from __future__ import annotations

from os import PathLike

import numpy as np
import numpy.typing as npt
import torch

from em_kalman.checkpoint import load_model
from em_kalman.features import pairwise_box_features
from em_kalman.model import NeuralKalmanFilter
from mot_core.association import DetectionBatch, TrackBatch
from mot_core.ops import sinkhorn


class EMKalmanCost:
    """1 - the learned probability that a detection belongs to a track: a ``cost`` for ByteTrack and the others.

    Args:
        checkpoint: file of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        model: a trained model, in place of ``checkpoint``; only its association is used.

    Raises:
        ValueError: there is no model, or one without a dustbin or with embeddings.

    >>> from mot_core.association import ByteTrack
    >>> tracker = ByteTrack(cost=EMKalmanCost(model=NeuralKalmanFilter()))
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    def __init__(self, checkpoint: str | PathLike[str] = "", *, model: NeuralKalmanFilter | None = None) -> None:
        if model is None:
            if not checkpoint:
                raise ValueError("EMKalmanCost needs a trained model: give checkpoint=FILE or model")
            model = load_model(checkpoint)
        if model.dustbin is None or model.embeddings:
            raise ValueError("EMKalmanCost needs a model with a dustbin and without embeddings")
        self.model = model

    @torch.no_grad()
    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> npt.NDArray[np.float64]:
        """``(N tracks, M detections)`` cost in [0, 1]."""
        model = self.model
        assert model.dustbin is not None
        device = model.dustbin.device
        earlier, later = (
            torch.as_tensor(batch.boxes_xyxy, dtype=torch.float32, device=device) for batch in (tracks, detections)
        )
        scores = model.network(pairwise_box_features(earlier, later, inclusive=model.inclusive))
        plan = sinkhorn(scores, num_iters=model.num_iters, dustbin=model.dustbin, last=model.last)
        share = plan[:-1, :-1].exp().double().cpu().numpy()
        return np.asarray(1 - share.clip(0, 1))
