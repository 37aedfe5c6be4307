"""Gradients of the adapters in one or two processes: `python -m _helpers.two_process.fdta OUT`."""

import sys

import torch
from torch import nn, optim

from _helpers.trackers.tracker_cases import batches, make
from _helpers.two_process.launch import in_two_processes
from fdta_adapters import FDTA, IdentityAdapter

SETTINGS = {
    "spatial": {"num_bins": 12, "dropout": 0.0},
    "temporal": {"layers": 1, "dropout": 0.0},
    "identity": {"start_epoch": 0, "min_quality": 0.0, "weighting": "none"},
}


def gradients_of_tracker(rows):
    """Return the gradients of the plug-in losses of MOTR on some of the two clips of a batch."""
    tracker = make("motr")
    FDTA(**SETTINGS).attach(tracker)
    tracker.setup()
    tracker.train()
    (batch, *_) = batches()
    batch.targets[1].extras["depth"][0] = float("nan")  # so that the clips have different numbers of known pixels
    losses, _ = tracker.losses(part(batch, rows))
    sum(loss for name, loss in losses.items() if "/" in name).backward()
    return {name: one.grad for name, one in tracker.named_parameters() if one.grad is not None}


def part(batch, rows):
    """Return some clips of a batch."""
    names = ("images", "padding", "image_size", "original_size", "times")
    targets = tuple(
        type(frame)(
            **{name: getattr(frame, name)[rows] for name in frame.SHAPES},
            extras={"depth": frame.extras["depth"][rows]},
        )
        for frame in batch.targets
    )
    sequences = tuple(batch.sequences[row] for row in rows)
    return type(batch)(**{name: getattr(batch, name)[rows] for name in names}, sequences=sequences, targets=targets)


def samples(rank=None):
    """Return six embeddings of a process, of which the second has one only; None: all of them.

    They are of three clips, of which the first and the last, in different processes, show one video.
    """
    random = torch.Generator().manual_seed(0)
    emb = torch.randn(7, 4, generator=random, dtype=torch.float64)
    ids, quality = torch.tensor([0, 0, 1, 1, 2, 0, 3]), torch.rand(7, generator=random, dtype=torch.float64) * 0.4 + 0.6
    source = torch.tensor([[0, 5], [0, 5], [0, 5], [0, 5], [1, 7], [1, 7], [0, 5]])
    if rank is None:
        source[-1, 0] = 2
        return emb, torch.tensor([0, 0, 1, 1, 2, 0, 6]), quality, None, source
    rows = slice(0, 6) if rank == 0 else slice(6, 7)
    return emb[rows], ids[rows], quality[rows], None, source[rows]


def make_adapter(gather):
    torch.manual_seed(0)
    return IdentityAdapter(4, 5, 3, gather=gather).double()


def save(rank, folder):
    """Save the gradients of process ``rank`` of two."""
    adapter = nn.parallel.DistributedDataParallel(make_adapter(gather=True))
    optimizer = optim.SGD(adapter.parameters(), lr=0.1)
    values, grads = [], []
    for _ in range(3):
        optimizer.zero_grad()
        output = adapter(*samples(rank))
        output.loss.backward()
        optimizer.step()
        values.append(output.loss.item())
        grads.append([one.grad.clone() for one in adapter.parameters()])
    report = {
        "losses": values,
        "gradients": grads,
        "head": [one.detach() for one in adapter.parameters()],
        "tracker": gradients_of_tracker([rank]),
    }
    torch.save(report, folder / f"{rank}.pt")


if __name__ == "__main__":
    in_two_processes(save, sys.argv[1])
