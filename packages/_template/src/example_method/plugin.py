"""Plug-in of the example method for trackers with identities and live boxes."""

from __future__ import annotations

from torch import Tensor

from example_method.smoothness import track_smoothness
from mot_core.plugins import Context, Plugin
from mot_core.slots import trajectories
from mot_core.structures import ClipOutput


class TrackSmoothnessPlugin(Plugin):
    """Loss :func:`track_smoothness` on the predicted boxes of each identity.

    Args:
        weight: Weight of the loss.
        warmup_steps: Training steps over which the weight rises linearly from 0.

    >>> TrackSmoothnessPlugin(weight=0.5).weight_at(step=0)
    0.5
    """

    name = "example_method"
    requires = ("ids", "live_boxes")

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Return the loss over the identities of all clips."""
        found = trajectories(clip)
        boxes_cxcywh, present = found.boxes_cxcywh.flatten(0, 1), found.present.flatten(0, 1)
        return {"acceleration": track_smoothness(boxes_cxcywh.transpose(0, 1), present.transpose(0, 1))}
