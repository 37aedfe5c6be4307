"""Training of every registered tracker in one and in two processes: `python -m _helpers.two_process.training OUT`."""

import sys
import warnings
from pathlib import Path

import torch

from _helpers.trackers.tracker_cases import EAGER, SHIPPED_TRACKERS, Losses, make, synthetic, trainer


class Report(Losses):
    """Callback that saves losses, weights and scores of every process."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_fit_end(self, trainer, module):
        metrics = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        content = {"losses": self.values, "weights": module.state_dict(), "metrics": metrics}
        torch.save(content, self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt")


def fit(name, folder, processes):
    tracker = make(name, **EAGER[name])
    run = trainer(
        folder, Report(folder), devices=processes, strategy="ddp_fork" if processes > 1 else "auto", precision="64-true"
    )
    run.fit(tracker, synthetic(batch_size=4 // processes, num_videos=8, num_objects=(0, 3)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in SHIPPED_TRACKERS:
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        for processes in (2, 1):
            fit(name, folder, processes)
