"""The base class of plug-ins, and what their hooks are told."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from mot_core.structures import ClipOutput, FeaturePyramid, FrameOutput, FrameTargets, TrackerSpec, TrackState


def _log_nothing(name: str, value: Any) -> None:
    """Where nobody listens."""


@dataclass(frozen=True, eq=False)
class Context:
    """Where a hook is called: in which clip or sequence, step and frame.

    Attributes:
        spec: what the tracker offers.
        training: a training step; otherwise tracking or validation.
        epoch: of training, from 0.
        step: of the optimiser, from 0.
        frame: index of the frame in the clip or sequence, from 0; where the detector takes several frames at once,
            ``on_features`` and ``on_decoder_layer`` get the number of the call instead, and a row for each image.
        targets: ground truth of the rows of this call; None in tracking.
        has_grad: False where the tracker runs this frame without gradient to save memory.
        store: what the plug-in keeps for itself until the end of the clip or sequence. Write what is computed, do not
            add to what is there: with checkpointing, ``on_features`` and ``on_decoder_layer`` run again in backward.
        log: ``log(name, value)`` reports a number.
        fired: hooks called so far in this frame, kept by :class:`Plugins`.
    """

    spec: TrackerSpec
    training: bool
    epoch: int = 0
    step: int = 0
    frame: int = 0
    targets: FrameTargets | None = None
    has_grad: bool = True
    store: dict[str, Any] = field(default_factory=dict)
    log: Callable[[str, Any], None] = _log_nothing
    fired: list[tuple[int, int]] = field(default_factory=list, repr=False)

    def at(self, frame: int, targets: FrameTargets | None = None, *, has_grad: bool = True) -> Context:
        """The same clip or sequence at a frame, or at a call of the detector."""
        return replace(self, frame=frame, targets=targets, has_grad=has_grad, fired=[])


class Plugin(nn.Module):
    """A loss, or a module between the parts of a tracker. Override what it needs; all hooks do nothing by default.

    Parameters and buffers are those of any module; in the tracker they are called ``plugins.<name>.*``.

    Attributes:
        name: of the plug-in in its tracker, in state dicts and in names of losses.
        requires: capabilities without which it cannot work; in a set or list, one of several. Names are in
            :data:`mot_core.plugins.CAPABILITIES`.
        arguments: Positional and keyword arguments of the constructor.

    Args:
        weight: of its losses, in place of which no other weight is applied.
        warmup_steps: steps over which the weight rises linearly from 0.

    >>> plugin = Plugin(weight=0.5, warmup_steps=100)
    >>> plugin.weight_at(20), plugin.weight_at(500)
    (0.1, 0.5)
    """

    name: str = ""
    requires: Collection[str | Collection[str]] = ()
    arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Plugin:
        """Record the arguments, so that a checkpoint can rebuild the plug-in."""
        plugin: Plugin = super().__new__(cls)
        object.__setattr__(plugin, "arguments", (args, kwargs))
        return plugin

    def __init__(self, weight: float = 1.0, warmup_steps: int = 0) -> None:
        super().__init__()
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight must be a number from 0, got {weight}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be 0 or more, got {warmup_steps}")
        self.weight = weight
        self.warmup_steps = warmup_steps

    def weight_at(self, step: int) -> float:
        """The weight of the losses in a step of the optimiser."""
        return self.weight * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.weight

    def setup(self, spec: TrackerSpec) -> Mapping[str, str]:
        """Build what depends on the tracker; called once, before there is an optimiser.

        Returns:
            Options that the plug-in wants from the tracker, out of :data:`mot_core.plugins.OPTIONS`.
        """
        return {}

    def on_clip_start(self, ctx: Context) -> None:
        """A clip (training) or a sequence (tracking) begins; ``ctx.store`` is empty."""

    def on_features(self, features: FeaturePyramid, ctx: Context) -> FeaturePyramid:
        """The feature maps before the encoder, to be replaced or read."""
        return features

    def on_decoder_layer(self, layer: int, hidden: Tensor, ctx: Context) -> Tensor:
        """The queries ``(B, N, C)`` after the norm of the visual cross-attention, before the feed-forward part."""
        return hidden

    def on_embeddings(self, frame: FrameOutput, ctx: Context) -> FrameOutput:
        """The predictions, before the tracker matches them: its own losses are computed on what is returned."""
        return frame

    def on_associate(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> Tensor | None:
        """In tracking, scores ``(B, M, N)`` that associate tracks and slots; the first plug-in that has any wins."""
        return None

    def on_tracks_update(self, frame: FrameOutput | None, tracks: TrackState, ctx: Context) -> TrackState:
        """The tracks, after matching, before the next frame is decoded with them.

        ``frame`` is None where the tracker forms the histories of all frames of a clip at once.
        """
        return tracks

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Losses of a clip by name, without weight. All are added up: what is only of interest goes to ``ctx.log``."""
        return {}
