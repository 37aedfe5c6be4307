"""Training of trackers with LAMOTRPlugin in one and in two processes: `python -m _helpers.two_process.lamotr OUT`."""

import sys
import warnings
from pathlib import Path

import torch

from _helpers.plugin_cases import PLUGINS
from _helpers.trackers.tracker_cases import EAGER, make, synthetic, trainer
from _helpers.two_process.training import Report

TRACKERS = ("motr", "memotr", "motip")


def fit(name, folder, processes):
    tracker = make(name, PLUGINS["lamotr"](), **EAGER[name])
    run = trainer(
        folder, Report(folder), devices=processes, strategy="ddp_fork" if processes > 1 else "auto",
        precision="64-true", limit_val_batches=0, max_epochs=1,
    )  # fmt: skip
    run.fit(tracker, synthetic(batch_size=4 // processes, num_videos=8, num_objects=(0, 3)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in TRACKERS:
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        for processes in (2, 1):
            fit(name, folder, processes)
