"""Training on detections in two processes and in one: `python -m _helpers.two_process.detections OUT`."""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import lightning
import torch

from em_kalman.lightning import EMKalmanModule, SyntheticDetectionDataModule


class Report(lightning.Callback):
    """Callback that saves weights and metrics of every process."""

    def __init__(self, folder):
        self.folder, self.windows = folder, []

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.windows += batch.frames[:, 0].tolist()

    def on_fit_end(self, trainer, module):
        metrics = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        content = {"windows": self.windows, "weights": module.state_dict(), "metrics": metrics}
        torch.save(content, self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt")


class Float64(EMKalmanModule):
    """Module in float64, in which two processes and one differ by rounding only."""

    def on_after_batch_transfer(self, batch, index):
        return replace(batch, boxes_xyxy=batch.boxes_xyxy.double())


def fit(folder, processes):
    torch.manual_seed(0)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=processes, strategy="ddp_fork" if processes > 1 else "auto",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, callbacks=[Report(folder)],
    )  # fmt: skip
    data = SyntheticDetectionDataModule(2, 4, 120, stride=5, batch_size=8 // processes, val_share=0.2)
    trainer.fit(Float64(warmup_epochs=1).double(), data)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for processes in (2, 1):
        fit(Path(sys.argv[1]), processes)
