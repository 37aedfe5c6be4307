"""Neural Kalman filter: association network, association chain and Kalman filter in one module."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from em_kalman.association_network import AssociationNetwork
from em_kalman.chain import compose_chain
from em_kalman.detections.window import WindowBatch
from em_kalman.features import SMALLEST_SIDE, pairwise_box_features
from em_kalman.motion.motion_model import MotionModel
from mot_core.ops import FilterResult, kalman_filter, sinkhorn

NOISE_FLOOR = 0.01  # share of the initial r
MATCHED = 2 * math.log(9)  # above the dustbin, an isolated pair gets p = 0.9: p / (1 - p) = exp(MATCHED / 2)
SCORE_BINS = 10


@dataclass(frozen=True, eq=False)
class NKFOutput:
    """Output of :class:`NeuralKalmanFilter` for ``B`` windows; the objects are the detections of frame 0.

    Attributes:
        logits: Association logits of adjacent frames, ``(B, T - 1, N, N)``, rows = earlier detections.
        log_plan: Log-probabilities of the associations, ``(B, T - 1, N, N)``, or ``(B, T - 1, N + 1, N + 1)`` with a
            dustbin.
        assoc: Probability that a detection belongs to an object, ``(B, T, K, N)``.
        unexplained: Probability that a detection belongs to no object, ``(B, T, N)``; 0 where padded.
        points: Box centers relative to ``origin``, in pixels, ``(B, T, N, 2)``.
        origin: Origin of the coordinates in pixels, ``(B, 1, 1, 2)``.
        filter: Filter moments of the objects, relative to ``origin``.
        measurement_noise: Measurement variances in square pixels, ``(B, K)``, or ``(B, T, N)`` in the layout "joint".
    """

    logits: Tensor
    log_plan: Tensor
    assoc: Tensor
    unexplained: Tensor
    points: Tensor
    origin: Tensor
    filter: FilterResult
    measurement_noise: Tensor


class NeuralKalmanFilter(nn.Module):
    """Associates the detections of a window and filters the trajectories of its objects.

    ::

        A[t] = sinkhorn(MLP(features[t, t + 1])),    P[t] = P[t - 1] A[t - 1],    P[0] = I
        x[t] ~ N(F x[t - 1], Q),                     z[t] ~ N(H(P[t]) x[t], R)

    with rows of ``A`` and ``P`` = earlier detections or objects. The model follows Li et al., "Learning a Neural
    Association Network for Self-supervised Multi-Object Tracking" (arXiv 2411.11514); the dustbin and the layout
    "decoupled" are extensions.

    Args:
        motion: Motion model; ``MotionModel()`` by default.
        hidden: Number of hidden units of the association network.
        dustbin: Whether detections may have no partner, so that objects come and go. Without it, all frames of a window
            need the same number of detections.
        layout: Covariance layout of the Kalman filter; see :func:`mot_core.ops.kalman_filter`. "joint" is the published
            one; it requires ``dustbin=False``, because the probabilities of a detection must sum to 1.
        last: Side that the Sinkhorn normalization scales last; the authors' code uses the earlier detections ("row").
        num_iters: Number of Sinkhorn iterations.
        inclusive: IoU convention; see :func:`em_kalman.pairwise_box_features`.
        embeddings: Whether to add the cosine similarity of the embeddings to the pair features.
        learn_noise: Whether to learn ``q`` and ``r`` too; requires the objective "predictive".

    Attributes:
        detection_probability: Probabilities ``(3,)`` set by :func:`em_kalman.learn_detection_probability`; 1 initially.
        weak_share: Probabilities ``(10,)`` by score, set by :func:`em_kalman.learn_weak_share`; 0.5 initially.

    >>> batch = WindowBatch(torch.rand(1, 3, 4, 4).cumsum(-1), torch.ones(1, 3, 4).bool(), torch.tensor([[9, 9]]),
    ...     torch.arange(3)[None])
    >>> NeuralKalmanFilter()(batch).assoc.shape
    torch.Size([1, 3, 4, 4])
    """

    def __init__(
        self,
        motion: MotionModel | None = None,
        *,
        hidden: int = 16,
        dustbin: bool = True,
        layout: Literal["decoupled", "joint"] = "decoupled",
        last: Literal["row", "column"] = "column",
        num_iters: int = 20,
        inclusive: bool = True,
        embeddings: bool = False,
        learn_noise: bool = False,
    ) -> None:
        super().__init__()
        if dustbin and layout == "joint":
            raise ValueError("layout='joint' needs dustbin=False: the shares of every detection must sum to 1")
        self.motion = MotionModel() if motion is None else motion
        # Saved in checkpoints, together with the motion model, to rebuild the model.
        self.settings = {
            "hidden": hidden,
            "dustbin": dustbin,
            "layout": layout,
            "last": last,
            "num_iters": num_iters,
            "inclusive": inclusive,
            "embeddings": embeddings,
            "learn_noise": learn_noise,
        }
        self.layout, self.last, self.num_iters, self.inclusive = layout, last, num_iters, inclusive
        self.embeddings = embeddings
        self.network = AssociationNetwork(5 + embeddings, hidden)
        self.dustbin = nn.Parameter(torch.zeros(())) if dustbin else None
        noise = torch.tensor([self.motion.q, self.motion.r]).log()
        self.log_noise = nn.Parameter(noise) if learn_noise else None
        self.detection_probability: Tensor
        self.register_buffer("detection_probability", torch.ones(3))
        self.weak_share: Tensor
        self.register_buffer("weak_share", torch.full((SCORE_BINS,), 0.5))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        old = f"{prefix}presence"  # name in checkpoints of version 0.1.0
        if old in state_dict:
            state_dict[f"{prefix}detection_probability"] = state_dict.pop(old)
        state_dict.setdefault(f"{prefix}weak_share", self.weak_share)  # absent in checkpoints of version 0.1.0
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def learned_motion(self) -> MotionModel:
        """Return the motion model with the current ``q`` and ``r``.

        >>> round(NeuralKalmanFilter().learned_motion().q, 6)
        0.0004
        """
        q, r = self._noise(None)
        return self.motion if q is None or r is None else replace(self.motion, q=q.item(), r=r.item())

    @torch.no_grad()
    def set_motion(self, motion: MotionModel) -> None:
        """Replace the motion model, and the learned ``q`` and ``r``, which training then starts from.

        >>> model = NeuralKalmanFilter(learn_noise=True)
        >>> model.set_motion(MotionModel(q=0.5))
        >>> round(model.learned_motion().q, 6)
        0.5
        """
        self.motion = motion
        if self.log_noise is not None:
            self.log_noise.copy_(torch.tensor([motion.q, motion.r * (1 - NOISE_FLOOR)]).log())

    def features(self, batch: WindowBatch) -> Tensor:
        """Return features ``(B, T - 1, N, N, 5 or 6)`` of adjacent frames; 0 where padded."""
        boxes = _float32(batch.boxes_xyxy).masked_fill(~batch.valid[..., None], 0)
        features = pairwise_box_features(boxes[:, :-1], boxes[:, 1:], inclusive=self.inclusive)
        if self.embeddings:
            if batch.embeddings is None:
                raise ValueError("batch.embeddings: expected (B, T, N, E) for this model, got None; pass embeddings")
            unit = F.normalize(_float32(batch.embeddings).masked_fill(~batch.valid[..., None], 0), dim=-1)
            cosine = unit[:, :-1] @ unit[:, 1:].transpose(-1, -2)
            features = torch.cat([features, cosine[..., None].to(features.dtype)], -1)
        pairs = batch.valid[:, :-1, :, None] & batch.valid[:, 1:, None, :]
        return features.masked_fill(~pairs[..., None], 0)

    def forward(
        self,
        batch: WindowBatch,
        *,
        motion: MotionModel | None = None,
        dustbin: Tensor | None = None,
        extra_logits: Tensor | None = None,
    ) -> NKFOutput:
        """Associate the detections and filter the trajectories.

        Args:
            batch: Batch of windows.
            motion: Motion model, with its noise, that replaces the model's own.
            dustbin: Dustbin logit that replaces the learned one.
            extra_logits: Pair logits of another model, ``(B, T - 1, N, N)``, added to those of the network.

        Raises:
            ValueError: If there is no dustbin and the frames of a window differ in their number of detections, or if
                the boxes or the logits are not finite.
        """
        valid = batch.valid
        if not torch.compiler.is_compiling():  # a compiled graph cannot branch on values
            _check_boxes(batch)
            if self.dustbin is None:
                _check_counts(batch)
        logits = self.network(self.features(batch))
        if extra_logits is not None:
            logits = logits + extra_logits
        if not torch.compiler.is_compiling() and not logits.isfinite().all():
            raise ValueError("logits: expected finite logits of the association network, got others; lower lr")
        plan = sinkhorn(
            logits,
            num_iters=self.num_iters,
            dustbin=None if self.dustbin is None else self.dustbin if dustbin is None else dustbin,
            row_mask=valid[:, :-1],
            column_mask=valid[:, 1:],
            last=self.last,
        )
        size = valid.shape[2]
        assoc = compose_chain(plan[..., :size, :size].exp(), valid[:, 0])
        unexplained = (1 - assoc.sum(2)).clamp(min=0) * valid
        dtype = assoc.dtype
        boxes = batch.boxes_xyxy.to(dtype).masked_fill(~valid[..., None], 0)
        centers = (boxes[..., :2] + boxes[..., 2:]) / 2
        # Coordinates near 0 keep the precision of float32.
        count = valid.sum((1, 2)).clamp(min=1)[:, None]
        origin = (centers.detach().sum((1, 2)) / count)[:, None, None]
        points = (centers - origin).masked_fill(~valid[..., None], 0)
        heights = (boxes[..., 3] - boxes[..., 1]).clamp(min=SMALLEST_SIDE).masked_fill(~valid, 1)
        used, (q, r) = self.motion if motion is None else motion, self._noise(motion)
        noise = used.measurement_noise(heights if self.layout == "joint" else heights[:, 0], r)
        result = kalman_filter(
            points,
            assoc,
            points[:, 0],
            process_noise=used.process_noise(heights[:, 0], q),
            measurement_noise=noise,
            initial_variance=used.initial_variance(heights[:, 0]),
            dt=used.dt,
            layout=self.layout,
            mask=valid,
        )
        return NKFOutput(logits, plan, assoc, unexplained, points, origin, result, noise)

    def _noise(self, motion: MotionModel | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the learned ``q`` and ``r``; a floor on ``r`` keeps the likelihood of a perfect fit bounded."""
        if self.log_noise is None or motion is not None:
            return None, None
        q, r = self.log_noise.exp()
        return q, r + self.motion.r * NOISE_FLOOR


def _float32(values: Tensor) -> Tensor:
    """Promote half precision, which would divide by 0 where padded and is too coarse for pixels."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_boxes(batch: WindowBatch) -> None:
    bad = batch.valid & ~batch.boxes_xyxy.isfinite().all(-1)
    if bad.any():
        window, frame, row = bad.nonzero()[0].tolist()
        raise ValueError(
            f"boxes_xyxy: expected finite corners, got {batch.boxes_xyxy[window, frame, row].tolist()} at row {row} in "
            f"frame {frame} of window {window}; remove the detection"
        )


def _check_counts(batch: WindowBatch) -> None:
    """Raise an error if the frames of a window differ in their number of detections."""
    counts = batch.valid.sum(2)
    differ = counts != counts[:, :1]
    if differ.any():
        window, frame = (int(position) for position in differ.nonzero()[0])
        raise ValueError(
            f"frame {int(batch.frames[window, frame])}: expected {int(counts[window, 0])} detections as in the first "
            f"frame, got {int(counts[window, frame])}; use dustbin=True, or windows of policy constant_count"
        )
