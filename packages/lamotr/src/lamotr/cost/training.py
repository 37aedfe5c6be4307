"""Training of the cost on recorded associations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lamotr.cost.model import BoxAssociation
from lamotr.cost.recording import RecordedAssociation
from lamotr.functional.losses import association_loss


@dataclass(frozen=True)
class CostTraining:
    """Settings of the training of a cost.

    Args:
        steps: Number of optimizer steps.
        batch_size: Frames per step.
        lr: Maximum learning rate of a one-cycle schedule.
        seed: Seed for all random draws during training.

    Raises:
        ValueError: If a value is out of range.

    >>> CostTraining(steps=100).batch_size
    16
    """

    steps: int = 2000
    batch_size: int = 16
    lr: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 2 or self.batch_size < 1 or not self.lr > 0:
            raise ValueError(
                "steps, batch_size, lr: expected at least 2, at least 1 and more than 0, got "
                f"{self.steps}, {self.batch_size} and {self.lr}"
            )


def learn_cost(
    records: Sequence[RecordedAssociation],
    training: CostTraining | None = None,
    on_step: Callable[[float], None] = lambda loss: None,
) -> BoxAssociation:
    """Train a network to associate the tracks and detections of recorded frames.

    Every step takes random frames, half of them mirrored, and minimizes :func:`lamotr.association_loss`. The random
    state of PyTorch is left as it was.

    Args:
        records: Recorded associations.
        training: Settings.
        on_step: Function that receives the loss of every step.

    Returns:
        The trained network, in evaluation mode.

    Raises:
        ValueError: If no record has a pair of one object.

    >>> import tempfile
    >>> from lamotr.cost.recording import record_associations
    >>> from mot_core.io import find_sequences, make_scene
    >>> folder = make_scene(num_objects=4, num_frames=20).save(tempfile.mkdtemp())
    >>> (sequence,) = find_sequences(folder, benchmark="generic")
    >>> records = list(record_associations(sequence, sequence.detections()))
    >>> learn_cost(records, CostTraining(steps=2)).training
    False
    """
    training = training or CostTraining()
    records = [record for record in records if record.known.any()]
    if not any(record.target.any() for record in records):
        raise ValueError(
            "records: expected frames in which a detection continues a track, got none; check that the detections "
            "overlap the ground truth"
        )
    rng = np.random.default_rng(training.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = BoxAssociation()
    optimizer = torch.optim.AdamW(model.parameters(), training.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.lr, training.steps)
    for _ in range(training.steps):
        drawn = [records[index] for index in rng.integers(len(records), size=training.batch_size)]
        frames = [one.features.mirrored() if rng.random() < 0.5 else one.features for one in drawn]
        logits, valid = model(frames)
        target, known = torch.zeros_like(valid), torch.zeros_like(valid)
        for row, one in enumerate(drawn):
            objects, tracks = one.target.shape
            target[row, :objects, :tracks] = torch.from_numpy(one.target)
            known[row, :objects, :tracks] = torch.from_numpy(one.known)
        loss = association_loss(logits, target, valid & known)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_step(loss.item())
    return model.eval()


@dataclass(frozen=True)
class AssociationQuality:
    """Quality of the scores of all known pairs.

    Attributes:
        precision: Share of true pairs among those with a score above 0.5.
        recall: Share of the true pairs that have a score above 0.5.
        frames: Number of frames.
    """

    precision: float
    recall: float
    frames: int


@torch.no_grad()
def association_quality(model: BoxAssociation, records: Sequence[RecordedAssociation]) -> AssociationQuality:
    """Measure the quality of a network on recorded associations.

    >>> association_quality(BoxAssociation(), []).frames
    0
    """
    hits = found = true = 0
    for record in records:
        positive = (model([record.features])[0][0].cpu().numpy() > 0) & record.known
        hits += int((positive & record.target).sum())
        found += int(positive.sum())
        true += int(record.target.sum())
    return AssociationQuality(hits / max(found, 1), hits / max(true, 1), len(records))
