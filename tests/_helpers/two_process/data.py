"""Clips received by each process: `python -m _helpers.two_process.data PROCESSES BATCH OUT`."""

import json
import sys
import warnings
from pathlib import Path

import lightning
import torch

from mot_core.data import SyntheticDataModule


class Recorder(lightning.LightningModule):
    """Module that learns the mean color; every process saves its clips."""

    def __init__(self, out):
        super().__init__()
        self.color = torch.nn.Parameter(torch.zeros(3))
        self.out = Path(out)
        self.seen = {"train": [], "val": []}

    def note(self, kind, batch):
        self.seen[kind].append(list(zip(batch.sequences, batch.times.tolist(), strict=True)))

    def training_step(self, batch, index):
        self.note("train", batch)
        return (batch.images.mean((1, 3, 4)) - self.color).square().sum(1).mean()

    def validation_step(self, batch, index):
        self.note("val", batch)

    def on_fit_end(self):
        result = self.seen | {"color": self.color.tolist()}
        (self.out / f"{self.trainer.world_size}-{self.trainer.global_rank}.json").write_text(json.dumps(result))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    processes, batch_size, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    data = SyntheticDataModule(
        num_videos=8,
        num_val_videos=3,
        num_frames=6,
        image_size=(32, 48),
        clip_length=2,
        stride=6,
        batch_size=batch_size,
    )
    lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Recorder(out), data)
