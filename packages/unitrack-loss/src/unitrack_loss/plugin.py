"""The loss as a plug-in: it attaches to every tracker that is trained with identities."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import Tensor

from mot_core.plugins import Context, Plugin
from mot_core.structures import ClipOutput
from unitrack_loss._gradient_monitor import GradientMonitor
from unitrack_loss._processes import share_of_clips
from unitrack_loss.loss import UniTrackLoss, UniTrackOutput
from unitrack_loss.track_clip import track_clip

LOGGED = [one.name for one in fields(UniTrackOutput) if one.name != "total"]


class UniTrackPlugin(Plugin):
    """:func:`unitrack_loss` of the slots of a tracker.

    All that :class:`UniTrackOutput` has is logged. Every ``report_every`` steps it is also measured which share of the
    gradient at the tracker's last layer is the loss's own (of a tracker that does not share its class head, at the
    embeddings, or at boxes and scores): the logged ``gradient_share``, of the step measured before, should be 0.05 to
    0.2. A warning says so when the loss teaches nothing.

    Args:
        weight: of the loss.
        warmup_steps: steps over which the weight rises from 0.
        min_score: slots without an object are detections from this score.
        report_every: steps from one measurement to the next.
        settings: those of :class:`Settings`.

    >>> UniTrackPlugin(window=3).weight_at(step=250)
    0.05
    """

    name = "unitrack"
    requires = ("ids", ("live_boxes", "embeddings", "assoc"))

    def __init__(
        self,
        weight: float = 0.1,
        warmup_steps: int = 500,
        min_score: float = 0.1,
        report_every: int = 50,
        **settings: Any,
    ) -> None:
        super().__init__(weight, warmup_steps)
        if report_every < 1:
            raise ValueError(f"report_every must be at least 1 step, got {report_every}")
        self.min_score = min_score
        self.report_every = report_every
        self.loss = UniTrackLoss(**settings)
        self._monitor = GradientMonitor()

    def on_clip_start(self, ctx: Context) -> None:
        """Look at this step, or not."""
        if self._looks(ctx):
            self._monitor.listen(ctx.spec.class_head)

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """The loss of all clips; of several processes, of the clips of all of them."""
        tracks = track_clip(clip, self.min_score)
        output: UniTrackOutput = self.loss(tracks)
        loss = output.total * share_of_clips(tracks) if ctx.training else output.total
        for name in LOGGED:
            ctx.log(name, getattr(output, name).float())
        if self._looks(ctx):
            if (share := self._monitor.share) is not None:
                ctx.log("gradient_share", share)
            self._monitor.check(output, self._monitor.observe(loss, self._monitor.tensors(clip)))
        return {"loss": loss}

    def _looks(self, ctx: Context) -> bool:
        return ctx.training and self.weight_at(ctx.step) > 0 and ctx.step % self.report_every == 0
