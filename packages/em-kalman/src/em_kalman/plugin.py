"""The loss as a plug-in, which trains the embeddings of a tracker from the motion of its detections."""

from __future__ import annotations

from os import PathLike

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from em_kalman.checkpoint import load_model
from em_kalman.detections.window import WindowBatch
from em_kalman.loss import EMKalmanLoss
from em_kalman.model import NeuralKalmanFilter
from mot_core.plugins import Context, Plugin
from mot_core.slots import boxes_xyxy, detections, pad_stack
from mot_core.structures import ClipOutput


class EMKalmanPlugin(Plugin):
    """Likelihood of a tracker's own detections, which trains its embeddings without identities.

    The logit of a pair is the sum of a frozen, trained association network and the learned scalar ``appearance`` times
    the cosine similarity of the embeddings. Where boxes are ambiguous, embeddings are pulled together or pushed apart
    so that the resulting trajectories are likely.

    Logs all diagnostics of :class:`EMKalmanLoss` and the number of detections.

    Args:
        checkpoint: Checkpoint of ``mot fit --config em_kalman_mot17`` or :func:`em_kalman.save_model`.
        weight: Weight of the loss.
        warmup_steps: Steps over which the weight rises linearly from 0.
        min_score: Minimum score for a slot to count as a detection.
        detach_boxes: Whether to stop the gradient to the boxes, which have their own losses.
        model: Trained model, as an alternative to ``checkpoint``.

    Raises:
        ValueError: If no model is given, or the model has no dustbin or uses embeddings.

    >>> EMKalmanPlugin(model=NeuralKalmanFilter()).weight_at(step=250)
    0.05
    """

    name = "em_kalman"
    requires = ("embeddings",)

    def __init__(
        self,
        checkpoint: str | PathLike[str] = "",
        weight: float = 0.1,
        warmup_steps: int = 500,
        min_score: float = 0.5,
        detach_boxes: bool = True,
        model: NeuralKalmanFilter | None = None,
    ) -> None:
        super().__init__(weight, warmup_steps)
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score must be from 0 to 1, got {min_score}")
        if model is None:
            if not checkpoint:
                raise ValueError(
                    "EMKalmanPlugin: expected a trained model, got none; pass checkpoint, a file of mot fit --config "
                    "em_kalman_synthetic, or model"
                )
            model = load_model(checkpoint)
        if model.dustbin is None or model.embeddings:
            raise ValueError("model: expected a dustbin and no embeddings; train with embeddings=False")
        self.min_score = min_score
        self.detach_boxes = detach_boxes
        self.model = model.requires_grad_(False).train()  # Lightning warns about modules in eval mode
        # Frozen at weight 0: an extra gradient, even of 0, changes the last bit of the gradient norm.
        self.appearance = nn.Parameter(torch.ones(()), requires_grad=weight > 0)
        self.loss = EMKalmanLoss()

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Compute and log the loss of a batch of clips."""
        batch = window_batch(clip, self.min_score, self.detach_boxes)
        assert batch.embeddings is not None
        with torch.autocast(batch.boxes_xyxy.device.type, enabled=False):
            unit = F.normalize(batch.embeddings, dim=-1)
            cosine = unit[:, :-1] @ unit[:, 1:].transpose(-1, -2)
            values = self.loss(self.model(batch, extra_logits=self.appearance * cosine), batch)
        for name, value in values.items():
            if name != "loss":
                ctx.log(name, value)
        ctx.log("num_detections", batch.valid.sum().float())
        # Keeps the loss in the graph when there are no detections.
        return {"loss": values["loss"] + 0 * (self.appearance + sum(_sums(clip)))}


def window_batch(clip: ClipOutput, min_score: float = 0.5, detach_boxes: bool = True) -> WindowBatch:
    """Convert the slots of a tracker to detections with boxes in pixels and embeddings, without identities.

    Args:
        clip: Outputs of all frames; targets are not read.
        min_score: Minimum score for a slot to count as a detection.
        detach_boxes: Whether to stop the gradient to the boxes.

    >>> from mot_core.structures import FrameOutput
    >>> logits, size = torch.tensor([[[2.0], [-2.0]]]), torch.tensor([[480, 640]])
    >>> frames = [FrameOutput(torch.rand(1, 2, 4), logits, logits[..., 0] < 9, size, torch.tensor([time]),
    ...     embeddings=torch.rand(1, 2, 8)) for time in (1, 2, 3)]
    >>> window_batch(ClipOutput(frames)).valid.shape
    torch.Size([1, 3, 1])
    """
    frames = [detections(frame, min_score) for frame in clip.frames]
    embeddings = [frame.embeddings.float() for frame in frames if frame.embeddings is not None]
    boxes = pad_stack([boxes_xyxy(frame).float() for frame in frames])
    return WindowBatch(
        boxes.detach() if detach_boxes else boxes,
        pad_stack([frame.valid for frame in frames]),
        frames[0].image_size,
        torch.stack([frame.time for frame in frames], 1),
        pad_stack(embeddings) if len(embeddings) == len(frames) else None,
    )


def _sums(clip: ClipOutput) -> list[Tensor]:
    """Return one scalar per frame that stays in the graph; padded slots, which may hold any value, are masked."""
    return [
        frame.embeddings.where(frame.valid[..., None], 0).sum() for frame in clip.frames if frame.embeddings is not None
    ]
