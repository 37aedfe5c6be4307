"""Tests in two processes with our callbacks: ``python two_process_callbacks.py OUT``."""

import sys
import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import lightning
import torch

from mot_core.callbacks import EmbeddingSimilarity, ResultsWriter, TrackVideo
from mot_core.data import SyntheticDataModule

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    spec = spec_from_file_location("oracle", Path(__file__).with_name("conftest.py"))
    oracle = module_from_spec(spec)
    spec.loader.exec_module(oracle)
    torch.manual_seed(0)
    tracker = oracle.OracleTracker()
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
