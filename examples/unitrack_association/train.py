"""Training with a cross-entropy on the associations of consecutive frames, optionally with the UniTrack loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unitrack_association.model import AssociationTransformer
from unitrack_association.recording import Recording, Step
from unitrack_loss import TrackClip, UniTrackLoss, UniTrackOutput

IMPOSSIBLE = -1e4
GROUPS = {"DanceTrack": 0.45, "SportsMOT": 0.4, "MOT17": 0.15}  # sampling weight of each data set; 1 for others


@dataclass(frozen=True)
class Config:
    """Training configuration.

    Args:
        weight: Weight of the UniTrack loss; 0 is the baseline.
        settings: Settings of the UniTrack loss, with the paper's terms and without gate unless given.
        flow: Source of the flow: the logits, embeddings of the tokens, or boxes alone.
        columns: Whether the cross-entropy also covers columns, like the flow.
        steps: Number of optimizer steps.
        warm_up: Steps over which the weight rises from 0.
        clips: Number of clips per batch.
        frames: Number of frames per clip.
        lr: Maximum learning rate.
    """

    weight: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    flow: Literal["logits", "embedding", "boxes"] = "logits"
    columns: bool = False
    steps: int = 500
    warm_up: int = 100
    clips: int = 3
    frames: int = 8
    lr: float = 2e-3


def train(
    recordings: Sequence[Recording], config: Config, seed: int
) -> tuple[AssociationTransformer, dict[str, float]]:
    """Train a network; return it with the mean logged values of the last fifth of the steps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, loss = (
        AssociationTransformer(),
        UniTrackLoss(**{"preset": "paper", "gate_confidence": False, **config.settings}),
    )
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, config.steps)
    logged: list[dict[str, float]] = []
    for step in range(config.steps):
        batch = Batch(_draw(recordings, config, rng), config.frames)
        logits, tokens = model(batch.rows, batch.columns, batch.row_valid, batch.column_valid)
        own = cross_entropy(logits, batch, config.columns)
        total, log = own, {"cross_entropy": own.item()}
        if config.weight:
            output: UniTrackOutput = loss(batch.clip(logits, model.embed(tokens), config.flow))
            if output.total.requires_grad:  # boxes are inputs, so flow from boxes has no gradient
                total = own + config.weight * min(1.0, (step + 1) / config.warm_up) * output.total
            log |= {name: value.item() for name, value in vars(output).items()}
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= config.steps * 4 // 5:
            logged.append(log)
    return model, {name: float(np.mean([log[name] for log in logged])) for name in logged[0]}


def cross_entropy(logits: Tensor, batch: Batch, columns: bool) -> Tensor:
    """Compute the cross-entropy of each track with a null column of logit 0; ``columns`` adds the reverse."""
    pairs = batch.row_valid[:, :, None] & batch.column_valid[:, None]
    masked = logits.where(pairs, IMPOSSIBLE)
    over_rows = F.cross_entropy(F.pad(masked, (0, 1))[batch.row_valid], batch.target[batch.row_valid])
    if not columns:
        return over_rows
    same = (batch.target[:, :, None] == torch.arange(logits.shape[2])) & pairs
    source = same.int().argmax(1).where(same.any(1), logits.shape[1])
    turned = F.pad(masked, (0, 0, 0, 1)).transpose(1, 2)
    return (over_rows + F.cross_entropy(turned[batch.column_valid], source[batch.column_valid])) / 2


def _draw(recordings: Sequence[Recording], config: Config, rng: np.random.Generator) -> list[tuple[Recording, int]]:
    """Draw recordings of one data set and the first frames of their clips."""
    groups = sorted({one.video.group for one in recordings})
    chances = np.array([GROUPS.get(group, 1.0) for group in groups])
    group = groups[rng.choice(len(groups), p=chances / chances.sum())]
    usable = [one for one in recordings if one.video.group == group and len(one.steps) >= config.frames]
    chosen = [usable[rng.integers(len(usable))] for _ in range(config.clips)]
    drawn = [(one, int(rng.integers(len(one.steps) - config.frames + 1))) for one in chosen]
    return [(one, start) for one, start in drawn if _window(one, start, config.frames)] or _draw(
        recordings, config, rng
    )


def _window(recording: Recording, start: int, frames: int) -> bool:
    """Return whether every frame of a clip has something to associate."""
    return all(step is not None for step in recording.steps[start + 1 : start + frames])


class Batch:
    """Batch of ``B`` clips of ``T`` frames as ``B (T - 1)`` padded steps.

    Args:
        drawn: Recordings and first frames of their clips.
        frames: Number of frames per clip.
    """

    def __init__(self, drawn: Sequence[tuple[Recording, int]], frames: int = 8) -> None:
        self.shape = len(drawn), frames
        self.seen = [recording.video.frames[start : start + frames] for recording, start in drawn]
        self.image_size = torch.tensor([recording.video.image_size for recording, _ in drawn])
        steps: list[Step] = [step for one, start in drawn for step in one.steps[start + 1 : start + frames] if step]
        self.rows, self.row_valid = _pad([step.row_features for step in steps])
        self.columns, self.column_valid = _pad([step.column_features for step in steps])
        size = self.columns.shape[1]
        targets = [np.where(step.target == len(step.column_features), size, step.target) for step in steps]
        self.target, _ = _pad(targets)

    def clip(self, logits: Tensor, embed: Tensor, flow: str) -> TrackClip:
        """Return the input of the UniTrack loss: the detections of all frames, without lost tracks.

        Args:
            logits: Logits of the network, ``(B (T - 1), R, N)``.
            embed: Embeddings of its tokens, ``(B (T - 1), R + N, D)``.
            flow: Source of the flow; see :class:`Config`.
        """
        clips, frames = self.shape
        every = [frame for clip in self.seen for frame in clip]
        boxes, valid = _pad([np.float32(frame.boxes_xyxy) for frame in every])
        size = boxes.shape[1]
        scores, _ = _pad([np.float32(frame.scores) for frame in every])
        identity, _ = _pad([frame.identity for frame in every], -1)
        gt_boxes, _ = _pad([np.float32(frame.gt_boxes_xyxy) for frame in every])
        gt_ids, _ = _pad([frame.gt_ids for frame in every], -1)
        given: dict[str, Tensor] = {}
        if flow == "logits":
            given["assoc_logits"] = _fit(_fit(logits, size, 1), size, 2).unflatten(0, (clips, frames - 1))
        elif flow == "embedding":
            rows, columns = embed.split([self.rows.shape[1], self.columns.shape[1]], 1)
            leaving = _fit(rows, size, 1).unflatten(0, (clips, frames - 1))
            last = _fit(columns, size, 1).unflatten(0, (clips, frames - 1))[:, -1:]
            given["embed"] = torch.cat([leaving, last], 1)
        shaped = (
            part.unflatten(0, self.shape)
            for part in (boxes, scores.clamp(0.01, 0.99).logit(), valid, identity, gt_boxes, gt_ids)
        )
        return TrackClip(*shaped, self.image_size, **given)


def _fit(value: Tensor, size: int, dim: int) -> Tensor:
    """Cut or pad a dimension to ``size``."""
    value = value.narrow(dim, 0, min(size, value.shape[dim]))
    missing = size - value.shape[dim]
    return F.pad(value, [0, 0] * (value.ndim - 1 - dim) + [0, missing])


def _pad(parts: Sequence[np.ndarray[Any, Any]], fill: float = 0) -> tuple[Tensor, Tensor]:
    tensors = [torch.from_numpy(np.asarray(part)) for part in parts]
    valid = pad_sequence([torch.ones(len(part), dtype=torch.bool) for part in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True, padding_value=fill), valid
