"""UniTrack loss as a plug-in for trackers that are trained with identities."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from mot_core.plugins import Context, Plugin
from mot_core.structures import ClipOutput
from unitrack_loss._gradient_monitor import GradientMonitor
from unitrack_loss._processes import share_of_clips
from unitrack_loss.loss import OF_BOTH, OF_CAPACITY, OF_EDGES, OF_IDENTITY, OF_PAPER, UniTrackLoss, UniTrackOutput
from unitrack_loss.track_clip import track_clip


class UniTrackPlugin(Plugin):
    """Plug-in that adds :func:`unitrack_loss` to the training loss of a tracker.

    Logs the entries of :class:`UniTrackOutput` whose terms have a weight. Every ``report_every`` steps it also measures
    the loss's share of the gradient at the tracker's last layer, or, for a tracker without a shared class head, at the
    embeddings, or at boxes and scores. The logged ``gradient_share``, from the previous measurement, should be 0.05 to
    0.2. A warning is issued if the loss has no effect on the tracker.

    Args:
        weight: Weight of the loss. None: 0.3, or 0.1 with the preset "paper". On a trained detector, a weight of 1 is
            better; from random weights, it slows detection down.
        warmup_steps: Steps over which the weight rises linearly from 0.
        min_score: Minimum score for a slot without an object to count as a detection. Lower values give the capacity
            term more duplicates to rank.
        report_every: Steps between measurements of the gradient share.
        settings: Fields of :class:`Settings`.

    >>> UniTrackPlugin().weight, UniTrackPlugin(preset="paper").weight
    (0.3, 0.1)
    """

    name = "unitrack"
    requires: Collection[str | Collection[str]] = ("ids", ("embeddings", "assoc"))

    def __init__(
        self,
        weight: float | None = None,
        warmup_steps: int = 0,
        min_score: float = 0.05,
        report_every: int = 50,
        **settings: Any,
    ) -> None:
        loss = UniTrackLoss(**settings)
        chosen = loss.settings
        if weight is None:
            weight = 0.1 if chosen.preset == "paper" else 0.3
        super().__init__(weight, warmup_steps)
        if report_every < 1:
            raise ValueError(f"report_every must be at least 1 step, got {report_every}")
        self.min_score = min_score
        self.report_every = report_every
        self.loss = loss
        paper, identity, capacity = chosen.has_paper_terms, chosen.factor("identity"), chosen.factor("capacity")
        outputs = (
            (OF_PAPER, paper),
            (OF_IDENTITY, identity),
            (OF_CAPACITY, capacity),
            (OF_BOTH, identity or capacity),
            (OF_EDGES, paper or identity),
        )
        self._logged = [name for names, weight in outputs if weight for name in names]
        if not identity:  # the paper's flow can be that of boxes
            self.requires = ("ids", ("live_boxes", "embeddings", "assoc"))
        self._monitor = GradientMonitor()

    def on_clip_start(self, ctx: Context) -> None:
        """Start recording the class head's inputs in steps that are measured."""
        if self._measures(ctx):
            self._monitor.listen(ctx.spec.class_head)

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Compute and log the loss of a batch, scaled for averaging over the clips of all processes."""
        tracks = track_clip(clip, self.min_score)
        output: UniTrackOutput = self.loss(tracks)
        loss = output.total * share_of_clips(tracks) if ctx.training else output.total
        for name in self._logged:
            ctx.log(name, getattr(output, name).float())
        if self._measures(ctx):
            if (share := self._monitor.share) is not None:
                ctx.log("gradient_share", share)
            self._monitor.check(output, self._monitor.observe(loss, self._monitor.tensors(clip)))
        return {"loss": loss}

    def _measures(self, ctx: Context) -> bool:
        return ctx.training and self.weight_at(ctx.step) > 0 and ctx.step % self.report_every == 0
