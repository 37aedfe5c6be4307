"""Example sweep over the weight, whose values reach the loss."""

import json

import pytest
import yaml

from mot_core.cli import main

TINY = [
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=2",
    "--trainer.num_sanity_val_steps=0", "--trainer.check_val_every_n_epoch=1", "--data.init_args.num_videos=2",
    "--data.init_args.num_val_videos=1", "--data.init_args.num_frames=4", "--data.init_args.image_size=[48, 64]",
    "--data.init_args.clip_length=2", "--model.init_args.detector.embed_dim=32",
    "--model.init_args.detector.ffn_dim=32", "--model.init_args.detector.num_heads=4", "--trainer.log_every_n_steps=1",
]  # fmt: skip


def test_two_trials(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(name, "0")
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "unitrack_weight", "--trials", "2", "--output", "out", "--", *TINY]) == 0
    rows = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert [row["state"] for row in rows] == ["complete", "complete"]
    for number in (0, 1):
        folder = tmp_path / "out" / f"trial-{number:03d}" / "version_0"
        callbacks = yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["callbacks"]
        (ours,) = [one["init_args"] for one in callbacks if "UniTrack" in one["class_path"]]
        assert ours["weight"] == [0.0, 0.3][number]
        assert "train/unitrack/loss" in (folder / "metrics.csv").read_text().splitlines()[0]
