"""Self-supervised training loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from em_kalman.detections.window import WindowBatch
from em_kalman.model import NKFOutput
from em_kalman.objectives import OBJECTIVES, Objective, frame_loglik
from mot_core.processes import mean_over_processes

GATE = 9.21  # 99% quantile of the chi-squared distribution with two degrees of freedom


class EMKalmanLoss(nn.Module):
    """Negative log-likelihood of the detections.

    For the default objective "predictive" and the layout "decoupled"::

        loss = -1/D sum_{t >= 1} sum_j ( sum_k P[t, k, j] log N(z[t, j]; m-[t, k], (a-[t, k] + r[k]) I)
                                         + u[t, j] log c )

    with ``D`` detections ``z`` after frame 0, association probabilities ``P``, predicted means ``m-`` and position
    variances ``a-`` of the objects ``k``, measurement variances ``r``, unexplained probabilities
    ``u[t, j] = 1 - sum_k P[t, k, j]`` and the clutter density ``c``, which is uniform over the image.

    The Gaussian term follows Li et al. (arXiv 2411.11514), "Learning a Neural Association Network for Self-supervised
    Multi-Object Tracking"; the clutter term is an extension for a varying number of objects.

    In distributed training, the loss is scaled so that DDP computes the gradient of one process with all windows; every
    process must call the module in training mode the same number of times. In evaluation mode, processes do not
    communicate.

    Args:
        objective: Training objective; see :func:`em_kalman.frame_loglik`.
        clutter_logdensity: Logarithm of the clutter density per square pixel; one over the image area by default.
            Higher values leave more detections unexplained.
        normalize: Whether to divide by the number of detections. Otherwise the loss is averaged over windows: the sum
            over frames for "predictive" and "em", the mean over frames for the other objectives.

    >>> from em_kalman import NeuralKalmanFilter
    >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0]]).expand(1, 3, 1, 4)
    >>> batch = WindowBatch(boxes, torch.ones(1, 3, 1).bool(), torch.tensor([[9, 9]]), torch.arange(3)[None])
    >>> round(EMKalmanLoss()(NeuralKalmanFilter(dustbin=False)(batch), batch)["loss"].item(), 2)
    3.5
    """

    def __init__(
        self,
        objective: Objective = "predictive",
        clutter_logdensity: float | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        self.objective, self.clutter_logdensity, self.normalize = objective, clutter_logdensity, normalize

    # Typed for the caller: nn.Module would return Any.
    __call__: Callable[..., dict[str, Tensor]]

    def forward(self, output: NKFOutput, batch: WindowBatch, *, clutter_shift: float = 0.0) -> dict[str, Tensor]:
        """Compute the loss and its diagnostics.

        Args:
            output: Output of :class:`em_kalman.NeuralKalmanFilter` for ``batch``.
            batch: Batch of windows.
            clutter_shift: Offset added to the log-density of clutter.

        Returns:
            ``loss`` and, detached: ``nll_per_det`` in nats, ``unexplained`` (share of the detections of frame 1 that no
            object explains), ``assoc_entropy`` (entropy of the origin of a detection, in nats) and ``gate_violations``
            (share of the associations outside the 99% region of the prediction).

        Raises:
            ValueError: If an image size is not positive.

        >>> import em_kalman
        >>> batch = WindowBatch(torch.zeros(1, 2, 0, 4), torch.ones(1, 2, 0).bool(), torch.ones(1, 2), torch.ones(1, 2))
        >>> EMKalmanLoss()(em_kalman.NeuralKalmanFilter()(batch), batch)["unexplained"].item()  # no detections
        0.0
        """
        valid, first = batch.valid, self.objective in ("predictive", "em")
        value = frame_loglik(output, valid, self.objective)
        density = self.clutter_logdensity
        area = batch.image_size.to(value.dtype).prod(-1)
        if not torch.compiler.is_compiling() and not ((area > 0) & area.isfinite()).all():
            raise ValueError(
                "image_size: expected height and width in pixels, which set the clutter density, got "
                f"{batch.image_size.tolist()}; pass positive numbers"
            )
        clutter = -area.log() if density is None else torch.full_like(area, density)
        value = value + output.unexplained.sum(-1) * (clutter + clutter_shift)[:, None]
        used = valid[:, 1:] if first else valid
        count = used.sum().clamp(min=1)
        total = -value.sum()
        frames = 1 if first or self.normalize else value.shape[1]
        number = used.sum() if self.normalize else torch.tensor(len(value), device=value.device)
        loss = total / (mean_over_processes(number) if self.training else number.clamp(min=1)) / frames
        unexplained = output.unexplained[:, 1].sum() / valid[:, 1].sum().clamp(min=1)
        return {
            "loss": loss,
            "nll_per_det": (total / count).detach(),
            "unexplained": unexplained.detach(),
            "assoc_entropy": _entropy(output, valid).detach(),
            "gate_violations": _gate_violations(output),
        }


def _entropy(output: NKFOutput, valid: Tensor) -> Tensor:
    """Return the mean entropy of the columns of later detections, dustbin included."""
    log_plan = output.log_plan[..., : valid.shape[2]]
    entropy = -(log_plan.exp() * log_plan).sum(-2)
    later = valid[:, 1:]
    return entropy.where(later, 0).sum() / later.sum().clamp(min=1)


@torch.no_grad()
def _gate_violations(output: NKFOutput) -> Tensor:
    """Return the share of associations after frame 0 that violate the gate."""
    result, noise, assoc = output.filter, output.measurement_noise, output.assoc[:, 1:]
    objects = assoc.shape[2]
    cov = result.predicted_cov[:, 1:]
    joint = cov.ndim == 4
    variance = cov.diagonal(dim1=-2, dim2=-1)[..., :objects] if joint else cov[..., 0, 0]
    noise = noise[:, 1:, None] if joint else noise[:, None, :, None]
    position, points = (each.transpose(-1, -2) for each in (result.predicted_mean[:, 1:, :, 0], output.points[:, 1:]))
    square = (position[..., None] - points[..., None, :]).square().sum(2)
    outside = square > GATE * (variance[..., None] + noise)
    return (assoc * outside).sum() / assoc.sum().clamp(min=1e-9)
