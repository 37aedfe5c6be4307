"""Callbacks in two processes: `python -m _helpers.two_process.callbacks OUT`."""

import sys
import warnings

import lightning
import torch

from _helpers.trackers.oracle_tracker import OracleTracker
from mot_core.callbacks import EmbeddingSimilarity, ResultsWriter, TrackVideo
from mot_core.data import SyntheticDataModule

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    tracker = OracleTracker()
    data = SyntheticDataModule(num_val_videos=3, num_frames=2, image_size=(48, 80))
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        default_root_dir=sys.argv[1],
        logger=False,
        enable_progress_bar=False,
        callbacks=[ResultsWriter(), EmbeddingSimilarity(min_score=0.0), TrackVideo(max_frames=1)],
    )
    trainer.validate(tracker, data, verbose=False)
    trainer.test(tracker, data, verbose=False)
