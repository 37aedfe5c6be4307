"""Learned association cost for other trackers."""

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
    """Association cost ``1 - P``, where ``P`` is the learned probability that a detection belongs to a track.

    Pass it as ``cost`` to ByteTrack and the other trackers of :mod:`mot_core.association`.

    Args:
        checkpoint: Checkpoint of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        model: Trained model, as an alternative to ``checkpoint``; only its association is used.

    Raises:
        ValueError: If no model is given, or the model has no dustbin or uses embeddings.

    >>> from mot_core.association import ByteTrack
    >>> tracker = ByteTrack(cost=EMKalmanCost(model=NeuralKalmanFilter()))
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    def __init__(self, checkpoint: str | PathLike[str] = "", *, model: NeuralKalmanFilter | None = None) -> None:
        if model is None:
            if not checkpoint:
                raise ValueError("EMKalmanCost: expected a trained model, got none; pass checkpoint=FILE or model")
            model = load_model(checkpoint)
        if model.dustbin is None or model.embeddings:
            raise ValueError(
                "model: expected a dustbin and no embeddings; train with dustbin=True and embeddings=False"
            )
        self.model = model
        self.checkpoint = checkpoint

    def __repr__(self) -> str:
        return f"EMKalmanCost({str(self.checkpoint)!r})"

    @torch.no_grad()
    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> npt.NDArray[np.float64]:
        """Return the cost in [0, 1], ``(N tracks, M detections)``."""
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
