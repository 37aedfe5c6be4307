"""Training on detections in two processes: `python -m _helpers.two_process.detections OUT`."""

import sys
import warnings
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
        torch.save(content, self.folder / f"{trainer.global_rank}.pt")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = Path(sys.argv[1])
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp_fork", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, callbacks=[Report(folder)],
    )  # fmt: skip
    trainer.fit(
        EMKalmanModule(warmup_epochs=1), SyntheticDetectionDataModule(2, 4, 120, stride=5, batch_size=4, val_share=0.2)
    )
