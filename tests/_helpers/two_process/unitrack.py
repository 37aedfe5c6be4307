"""Gradients of the loss in one or two processes: `python -m _helpers.two_process.unitrack OUT`."""

import sys
from dataclasses import replace

import torch
from torch import nn

from _helpers.trackers.small_tracker import SmallTracker, make_batch
from _helpers.two_process.launch import in_two_processes
from _helpers.unitrack_clips import noisy
from mot_core.structures import FrameTargets
from unitrack_loss import UniTrackLoss, UniTrackPlugin

SPLITS = ([0, 1], [2]), ([0, 2], [1])  # clips of both processes; the last has no objects
EMPTY = [{"count": 0}, {"frames": 1}]  # clips without possible associations


class Embedder(nn.Module):
    """A linear layer for embeddings, followed by the loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 4, dtype=torch.float64)

    def forward(self, clip):
        return UniTrackLoss("paper")(replace(clip, embed=self.linear(clip.embed))).total


def clips_of(rank):
    """Return the clips of all steps of process ``rank``; the second process has objects in the last one only."""
    return [noisy(seed=step, **(shape if rank else {})) for step, shape in enumerate([*EMPTY, {}])]


def gradients_of_embedder(model, clips):
    found = []
    for clip in clips:
        model.zero_grad()
        model(clip).backward()
        found.append([one.grad.clone() for one in model.parameters()])
    return found


def gradient_of_tracker(rows):
    """Return the gradient of the plug-in's loss on some of three clips; the last clip has no objects."""
    torch.manual_seed(0)
    tracker = SmallTracker(UniTrackPlugin(weight=1.0, warmup_steps=0, min_score=1.0), dropout=0.0)
    images, targets = make_batch(clips=3)
    known = torch.tensor([True, True, False])[:, None]
    targets = [
        FrameTargets(
            *(one[rows] for one in (frame.boxes_cxcywh, frame.labels, frame.ids.where(known, -1), frame.valid & known))
        )
        for frame in targets
    ]
    tracker(images[rows], targets)[1]["unitrack/loss"].backward()
    return {name: one.grad for name, one in tracker.named_parameters() if one.grad is not None}


def save_gradients(rank, folder):
    """Save the gradients of process ``rank`` of two."""
    model = nn.parallel.DistributedDataParallel(Embedder())  # requires a gradient of every parameter in every step
    trackers = [gradient_of_tracker(rows[rank]) for rows in SPLITS]
    report = {"embedder": gradients_of_embedder(model, clips_of(rank)), "trackers": trackers}
    torch.save(report, folder / f"{rank}.pt")


if __name__ == "__main__":
    in_two_processes(save_gradients, sys.argv[1])
