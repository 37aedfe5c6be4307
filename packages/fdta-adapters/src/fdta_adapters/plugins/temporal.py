"""The temporal adapter as a plug-in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fdta_adapters.modules.history import TrackHistory
from fdta_adapters.modules.temporal import Position, TemporalAdapter, TemporalResidual
from fdta_adapters.plugins.released_weights import load, temporal_arguments, temporal_state
from mot_core.plugins import Context, Plugin
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec, TrackState


class TemporalAdapterPlugin(Plugin):
    """Refine the embeddings of each track by its own past, in training and tracking.

    A tracker with a window of history (MOTIP) gets a refined window; the embeddings of the current frame and those it
    stores stay as they are. For a tracker with track queries (MOTR), the plug-in keeps the window and refines the
    embedding from which the next query of each track is formed.

    Args:
        weight: 0 switches the adapter off: the tracker stays bit-identical. Other values have no effect, because the
            adapter has no loss; its ``loss`` is always 0 and keeps its parameters in the graph.
        warmup_steps: No effect.
        layers: Number of layers.
        num_heads: Number of heads.
        ffn_dim: Hidden channels of the feed-forward. None: twice the embeddings.
        dropout: Dropout probability.
        position: Encoding of time: frames count from the start of the "window" as in the paper, by "age" back from the
            newest frame, or "none".
        residual: "replace" as in the paper, or "gated": with a gate that starts closed, which leaves a trained tracker
            bit-identical at first.
        mask_missing: Attend to no frame in which a track was not seen. False: to a zero vector in its place.
        window: Frames of history, with the current one, for trackers with track queries.
        checkpointing: Recompute each layer in the backward pass to save memory.

    >>> TemporalAdapterPlugin(layers=2).settings["layers"]
    2
    """

    name = "fdta_temporal"
    requires = ("embeddings", ("history", "track_queries"))

    def __init__(
        self,
        weight: float = 1.0,
        warmup_steps: int = 0,
        layers: int = 6,
        num_heads: int = 8,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        position: Position = "window",
        residual: TemporalResidual = "replace",
        mask_missing: bool = True,
        window: int = 30,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(weight, warmup_steps)
        if window < 2:
            raise ValueError(f"window: expected at least 2 frames, got {window}")
        self.window, self.ffn_dim = window, ffn_dim
        self.settings: dict[str, Any] = {
            "layers": layers, "heads": num_heads, "dropout": dropout, "position": position, "residual": residual,
            "mask_missing": mask_missing, "checkpointing": checkpointing,
        }  # fmt: skip

    def setup(self, spec: TrackerSpec) -> Mapping[str, str]:
        """Build the adapter for the embeddings of the tracker."""
        assert spec.embed_dim is not None, "required"
        self.adapter = TemporalAdapter(spec.embed_dim, ffn=self.ffn_dim or 2 * spec.embed_dim, **self.settings)
        self.streams = "history" not in spec.capabilities
        return {}

    def on_embeddings(self, frame: FrameOutput, ctx: Context) -> FrameOutput:
        """Refine the embeddings of carried tracks, for a tracker that keeps no history."""
        if not (self.weight and self.streams):
            return frame
        assert frame.embeddings is not None, "required"
        histories = ctx.store.setdefault("histories", [TrackHistory(self.window - 1) for _ in frame.valid])
        carried = frame.valid & frame.is_track & (frame.track_ids >= 0)
        ctx.store["raw"] = frame.embeddings, carried, frame.track_ids
        rows = []
        for embeddings, here, ids, history in zip(frame.embeddings, carried, frame.track_ids, histories, strict=True):
            if not (len(history) and here.any()):
                rows.append(embeddings)
                continue
            past, missing = history.tokens(ids[here])
            tokens = torch.cat([past.to(embeddings.dtype), embeddings[here][:, None]], 1)
            missing = torch.cat([missing, torch.zeros_like(missing[:, :1])], 1)
            refined = self.adapter(tokens, missing)[:, -1]
            rows.append(embeddings.index_put((here.nonzero().squeeze(1),), refined))
        return replace(frame, embeddings=torch.stack(rows))

    def on_tracks_update(self, frame: FrameOutput | None, tracks: TrackState, ctx: Context) -> TrackState:
        """Refine the histories of all tracks, or store the embeddings of this frame for those of the next."""
        if not self.weight:
            return tracks
        if tracks.history is not None and tracks.history_valid is not None:
            return replace(tracks, history=self.adapter(tracks.history, ~tracks.history_valid))
        if frame is not None and self.streams:
            self._remember(frame, tracks, ctx)
        return tracks

    def _remember(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> None:
        """Store the unrefined embedding of every live track, seen or not."""
        assert tracks.embeddings is not None, "required"
        raw, carried, carried_ids = ctx.store.pop("raw")
        for clip, history in enumerate(ctx.store["histories"]):
            live = tracks.valid[clip] & (tracks.ids[clip] >= 0)
            ids, embeddings = tracks.ids[clip, live], tracks.embeddings[clip, live]
            history.keep(ids)
            here = carried[clip]
            same = ids[:, None] == carried_ids[clip, here][None, :]
            old = same.any(1)
            present = torch.ones_like(old)
            if tracks.misses is not None:
                present = tracks.misses[clip, live] == 0
            if old.any():
                slot = same.to(torch.uint8).argmax(1)
                embeddings = raw[clip, here][slot].where(old[:, None], embeddings)
                if ctx.training:  # the object of a track may have left
                    present = present & ((frame.gt_index[clip, here] >= 0)[slot] | ~old)
            history.append(ids, embeddings, present)

    def on_clip_loss(self, clip: ClipOutput, ctx: Context) -> dict[str, Tensor]:
        """Return 0 with a graph that contains all parameters, because some clips have no tracks to refine."""
        return {"loss": sum((0 * one.sum() for one in self.parameters()), torch.zeros(()))}

    @classmethod
    def released_arguments(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the arguments that fit a released FDTA; None for other weights."""
        return temporal_arguments(state)

    def import_weights(self, state: Mapping[str, Tensor]) -> dict[str, str]:
        """Load the temporal adapter of a released FDTA."""
        return load(self.adapter, temporal_state(state), "FDTA's temporal adapter")
