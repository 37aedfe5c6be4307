"""Learned association cost for trackers that take detections."""

from __future__ import annotations

from os import PathLike

import numpy as np
import numpy.typing as npt
import torch

from lamotr.cost.features import association_features
from lamotr.cost.model import BoxAssociation, load_cost
from mot_core.association import DetectionBatch, TrackBatch


class LAMOTRCost:
    """Association cost ``1 - S``, where ``S`` is the score of SGLA for a detection and a track.

    The network uses boxes, scores and motion of all tracks and detections of the frame, but no appearance. Pass it as
    ``cost`` to ByteTrack and the other trackers of :mod:`mot_core.association`, or use
    ``mot track --tracker bytetrack --cost lamotr:FILE``.

    Args:
        checkpoint: File of ``mot lamotr learn-cost`` or :func:`lamotr.save_cost`.
        model: Trained network, as an alternative to ``checkpoint``.

    Raises:
        ValueError: If no network is given.

    >>> from mot_core.association import ByteTrack
    >>> tracker = ByteTrack(cost=LAMOTRCost(model=BoxAssociation()))
    >>> tracker.update(np.array([[0, 0, 40, 80]]), np.array([0.9])).ids
    array([1])
    """

    def __init__(self, checkpoint: str | PathLike[str] = "", *, model: BoxAssociation | None = None) -> None:
        if model is None:
            if not checkpoint:
                raise ValueError("LAMOTRCost: expected a trained network, got none; pass checkpoint=FILE or model")
            model = load_cost(checkpoint)
        self.model = model
        self.checkpoint = checkpoint

    def __repr__(self) -> str:
        return f"LAMOTRCost({str(self.checkpoint)!r})"

    @torch.no_grad()
    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> npt.NDArray[np.float64]:
        """Return the cost in [0, 1], ``(N tracks, M detections)``."""
        logits, _ = self.model([association_features(tracks, detections)])
        cost: npt.NDArray[np.float64] = (1 - logits[0].double().sigmoid().t()).cpu().numpy()
        return cost
