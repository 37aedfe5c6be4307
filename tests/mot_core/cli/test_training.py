"""`mot fit|validate|test|predict`: configs, folders, checkpoints and complaints."""

from __future__ import annotations

import csv

import pytest
import torch
import yaml

from mot_core.trackers import MOTR, Tracker

SMALL = {
    "model": {
        "class_path": "MOTR",
        "init_args": {
            "detector": {
                "backbone": "small",
                "num_queries": 5,
                "embed_dim": 32,
                "ffn_dim": 32,
                "num_levels": 3,
                "num_encoder_layers": 1,
                "num_decoder_layers": 2,
            },
            "birth_threshold": 0.009,  # fresh weights track something
            "report_threshold": 0.0,
            "min_area": 0.0,
        },
    },
    "data": {
        "class_path": "SyntheticDataModule",
        "init_args": {
            "num_videos": 3,
            "num_val_videos": 1,
            "num_frames": 4,
            "image_size": [48, 80],
            "clip_length": 2,
            "stride": 4,
        },
    },
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 2,
        "gradient_clip_val": 0.1,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
    },
}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small training."""
    from mot_core.cli import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    assert main(["fit", "--config", str(folder / "small.yaml"), "--output", str(folder / "run")]) == 0
    return folder / "run" / "version_0"


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def test_fit_leaves_config_metrics_and_a_checkpoint(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["checkpoints", "config.yaml", "metrics.csv"]
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["last.ckpt"]
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert len([row for row in rows if row["train/loss"]]) == 6
    assert len([row for row in rows if row["val/HOTA"]]) == 2
    tracker = Tracker.from_checkpoint(trained / "checkpoints" / "last.ckpt")
    assert isinstance(tracker, MOTR)
    assert tracker.arguments["detector"]["num_queries"] == 5


def test_the_same_seed_gives_the_same_weights_and_the_saved_config_is_enough(mot, trained):
    assert mot("fit", "--config", trained / "config.yaml", "--output", "again").code == 0
    first, again = weights(trained / "checkpoints/last.ckpt"), weights("again/version_0/checkpoints/last.ckpt")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_second_run_goes_into_a_folder_of_its_own(mot, in_tmp):
    for _ in range(2):
        done = mot("fit", "--config", "small.yaml", "--trainer.max_epochs", "1", "--output", "runs/a")
        assert done.code == 0, done.err
    assert sorted(path.name for path in (in_tmp / "runs/a").iterdir()) == ["version_0", "version_1"]
