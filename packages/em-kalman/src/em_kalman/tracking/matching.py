"""Trained association on NumPy arrays, because the call overhead of torch dominates for single frames."""

from __future__ import annotations

import numpy as np

from em_kalman.features import SMALLEST_SIDE
from em_kalman.model import MATCHED, NeuralKalmanFilter
from mot_core.association.frame_detections import Floats, Integers


def score_bins(scores: Floats, count: int) -> Integers:
    """Return the bins of scores ``(M,)``, of ``count`` equal ones between 0 and 1; scores outside are clipped.

    >>> score_bins(np.array([-3.0, 0.25, 1.0]), 10).tolist()
    [0, 2, 9]
    """
    return np.asarray((scores * count).clip(0, count - 1).astype(np.int64))


class FrameAssociation:
    """Association network and dustbin of a model, in float64, for the pairs of one frame.

    Args:
        model: Trained model with a dustbin; its weights are copied.

    Attributes:
        dustbin: Logit of having no partner.
        detection_probability: Probabilities ``(3,)``; see :func:`em_kalman.learn_detection_probability`.

    Raises:
        ValueError: If the model has no dustbin.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> box = np.array([0.0, 0.0, 40.0, 80.0])[:, None, None]
    >>> FrameAssociation(NeuralKalmanFilter()).scores(box, box + 1.0).shape
    (1, 1)
    """

    def __init__(self, model: NeuralKalmanFilter) -> None:
        if model.dustbin is None:
            raise ValueError("model: expected a dustbin for online tracking, got none; train with dustbin=True")
        state = {name: value.detach().cpu().double().numpy() for name, value in model.network.state_dict().items()}
        self._hidden = state["layers.0.weight"].T, state["layers.0.bias"]
        self._output = state["layers.2.weight"][0], state["layers.2.bias"]
        self.dustbin = model.dustbin.item()
        self.detection_probability = model.detection_probability.cpu().double().numpy()
        share = model.weak_share.cpu().double().numpy()
        self._weak_gain = 2 * np.log(share / (1 - share)) - MATCHED
        self._extra = 1.0 if model.inclusive else 0.0

    def weak_gain(self, scores: Floats) -> Floats:
        """Return what the scores ``(M,)`` of weak detections add to the gain of a match.

        >>> model = NeuralKalmanFilter()
        >>> _ = model.weak_share.copy_(model.weak_share.new_tensor([0.5] * 5 + [0.9] * 5))
        >>> FrameAssociation(model).weak_gain(np.array([0.3, 0.55])).round(2).tolist()
        [-4.39, -0.0]
        """
        return np.asarray(self._weak_gain[score_bins(scores, len(self._weak_gain))])

    def scores(self, earlier: Floats, later: Floats, cosine: Floats | None = None) -> Floats:
        """Return the logits ``(N, M)`` of pairs showing the same object.

        Args:
            earlier: Box corners in pixels, ``(4, N, 1)``.
            later: Box corners in pixels, ``(4, 1, M)``.
            cosine: Cosine similarity of the embeddings, ``(N, M)``, for a model that uses them.
        """
        width1, height1 = np.maximum(earlier[2:] - earlier[:2], SMALLEST_SIDE)
        width2, height2 = np.maximum(later[2:] - later[:2], SMALLEST_SIDE)
        scale, extra = 2 / (height1 + height2), self._extra
        overlap = np.maximum(np.minimum(earlier[2:], later[2:]) - np.maximum(earlier[:2], later[:2]) + extra, 0.0).prod(
            0
        )
        area1, area2 = (width1 + extra) * (height1 + extra), (width2 + extra) * (height2 + extra)
        pairs = [
            scale * (earlier[3] - later[3]),
            scale * (earlier[0] - later[0]),
            np.log(height1 / height2),
            np.log(width1 / width2),
            overlap / (area1 + area2 - overlap),
        ]
        features = np.stack(pairs if cosine is None else [*pairs, cosine], -1)
        (weight1, bias1), (weight2, bias2) = self._hidden, self._output
        logits: Floats = np.maximum(features @ weight1 + bias1, 0.0) @ weight2 + bias2
        return logits
