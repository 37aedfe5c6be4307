"""The base class of plug-ins, and the context that their hooks receive."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from mot_core.structures import ClipOutput, FeaturePyramid, FrameOutput, FrameTargets, TrackerSpec, TrackState


def _log_nothing(name: str, value: Any) -> None:
    """Discard a logged value."""


@dataclass(frozen=True, eq=False)
class Context:
    """The position of a hook call: clip or sequence, step and frame.

    Attributes:
        spec: Description of the tracker.
        training: True in a training step, False in tracking and validation.
        epoch: Training epoch, from 0.
        step: Optimizer step, from 0.
        frame: Index of the frame in the clip or sequence, from 0. If the detector processes several frames per call,
            ``on_features`` and ``on_decoder_layer`` receive the number of the call instead, and one row per image.
        targets: Ground truth of the rows of this call; None in tracking.
        has_grad: False if the tracker runs this frame without gradient to save memory.
        store: Private storage of the plug-in until the end of the clip or sequence. Assign values, do not accumulate:
            with checkpointing, ``on_features`` and ``on_decoder_layer`` run again in the backward pass.
        log: ``log(name, value)`` reports a number.
        fired: Hooks already called in this frame, maintained by :class:`Plugins`.
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
        """Return the context at a frame of the same clip, or at a call of the detector."""
        return replace(self, frame=frame, targets=targets, has_grad=has_grad, fired=[])


class Plugin(nn.Module):
    """A loss, or a module between the parts of a tracker. Override the hooks it needs; the others do nothing.

    A plug-in is an ordinary module. In the tracker its parameters and buffers are called ``plugins.<name>.*``.

    Attributes:
        name: Name in the tracker, in state dicts and in the names of losses. The entry point has the same name.
        requires: Capabilities the plug-in needs, see :data:`mot_core.plugins.CAPABILITIES`. A set or list within means
            that one of its members is enough.
        arguments: Positional and keyword arguments of the constructor.

    Args:
        weight: Weight of its losses, the only weight applied to them. 0 changes no bit of the training.
        warmup_steps: Optimizer steps over which the weight rises linearly from 0.

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
            raise ValueError(f"weight must be a finite number of at least 0, got {weight}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
        self.weight = weight
        self.warmup_steps = warmup_steps

    def weight_at(self, step: int) -> float:
        """Return the weight of the losses at an optimizer step."""
        return self.weight * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.weight

    def setup(self, spec: TrackerSpec) -> Mapping[str, str]:
        """Build the modules that depend on the tracker. Called once, before the optimizer exists.

        Returns:
            Options requested from the tracker, keys of :data:`mot_core.plugins.OPTIONS`.
        """
        return {}

    def on_clip_start(self, ctx: Context) -> None:
        """Start a clip (training) or a sequence (tracking); ``ctx.store`` is empty."""

    def on_features(self, features: FeaturePyramid, ctx: Context) -> FeaturePyramid:
        """Read or replace the feature maps before the encoder."""
        return features

    def on_decoder_layer(self, layer: int, hidden: Tensor, ctx: Context) -> Tensor:
        """Read or replace the queries ``(B, N, C)`` after cross-attention, before the feed-forward block of a layer."""
        return hidden

    def on_embeddings(self, frame: FrameOutput, ctx: Context) -> FrameOutput:
        """Read or replace the predictions before matching. The tracker computes its own losses on the result."""
        return frame

    def on_associate(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> Tensor | None:
        """Return association scores ``(B, M, N)`` of tracks and slots in tracking; the first plug-in wins."""
        return None

    def on_tracks_update(self, frame: FrameOutput | None, tracks: TrackState, ctx: Context) -> TrackState:
        """Read or replace the tracks after matching, before the next frame is decoded with them.

        ``frame`` is None if the tracker builds the histories of all frames of a clip at once.
        """
        return tracks

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Return unweighted losses of a clip by name. All are summed; report other numbers with ``ctx.log``."""
        return {}

    @classmethod
    def released_arguments(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the constructor arguments for weights released by other projects that contain this plug-in.

        Args:
            state: Released state dict.

        Returns:
            Arguments as plain data; None if the weights do not contain it.
        """
        return None

    def import_weights(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """Load this plug-in's part of a released state dict. Called after :meth:`setup`.

        Args:
            state: Released tensors that the tracker itself does not use.

        Returns:
            The used names, mapped to those within the plug-in.

        Raises:
            ValueError: If the weights contain this plug-in with another architecture.
        """
        return {}
