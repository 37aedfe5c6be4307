"""Gradients of the criterion in one or two processes: `python -m _helpers.two_process.criterion OUT`."""

import sys

import torch

from _helpers.trackers.tiny_detectors import make_targets
from _helpers.two_process.launch import in_two_processes
from mot_core.nn import DetectorOutput, SetCriterion


def make_output(layers=2, batch=2, slots=5, classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(layers, batch, slots, classes, generator=generator, dtype=torch.float64)
    boxes = torch.rand(layers, batch, slots, 4, generator=generator, dtype=torch.float64) * 0.4 + 0.3
    return DetectorOutput(logits.requires_grad_(), boxes.requires_grad_(), logits, [])


def one_frame(targets, frame):
    """Return one frame of a batch of targets, as a batch of one."""
    names = ("boxes_cxcywh", "labels", "ids", "valid")
    return type(targets)(*(getattr(targets, name)[frame, None] for name in names))


def gradient(frame=None):
    """Return the gradients of the predictions of both frames, for the loss of one or both frames."""
    output, targets = make_output(), make_targets([3, 1], classes=2)
    own = output
    if frame is not None:
        logits, boxes = output.logits[:, frame, None], output.boxes_cxcywh[:, frame, None]
        own, targets = DetectorOutput(logits, boxes, logits, []), one_frame(targets, frame)
    losses, _ = SetCriterion()(own, targets)
    SetCriterion().total(losses).backward()
    return output.logits.grad, output.boxes_cxcywh.grad


def save_gradient_of_own_frame(rank, folder):
    """Save the gradients that process ``rank`` of two computes from its frame."""
    torch.save(gradient(rank), folder / f"{rank}.pt")


if __name__ == "__main__":
    in_two_processes(save_gradient_of_own_frame, sys.argv[1])
