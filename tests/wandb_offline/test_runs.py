"""`mot fit` with the W&B logger, offline: the run is read back from its file."""

import csv
import json
import os
import time

import pytest
import yaml

if os.environ.get("MOT_WANDB") != "1":
    pytest.skip("run by `nox -s tests_wandb`, which installs wandb", allow_module_level=True)

import wandb

from _helpers.wandb_files import read_run
from mot_core.cli import main
from mot_core.evaluation.table import COLUMNS

TINY = [
    "--trainer.max_epochs=2", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=4",
    "--trainer.num_sanity_val_steps=0", "--trainer.check_val_every_n_epoch=1", "--data.init_args.num_videos=2",
    "--data.init_args.num_val_videos=1", "--data.init_args.num_frames=4", "--data.init_args.image_size=[48, 64]",
    "--data.init_args.clip_length=2", "--model.init_args.detector.embed_dim=32",
    "--model.init_args.detector.ffn_dim=32", "--model.init_args.detector.num_heads=4", "--trainer.log_every_n_steps=1",
]  # fmt: skip
PLUGINS = [
    "--trainer.callbacks+=UniTrackCallback", "--trainer.callbacks.weight=0.25", "--trainer.callbacks.window=3",
    "--trainer.callbacks+=TrackVideo",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a training with MOTR, the UniTrack loss, W&B and a video."""
    output = tmp_path_factory.mktemp("runs")
    logger = "--trainer.logger=WandbLogger"
    assert main(["fit", "--config", "motr_synthetic", logger, *PLUGINS, f"--output={output}", *TINY]) == 0
    return output / "version_0"


@pytest.fixture(scope="module")
def run(folder):
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found = read_run(path)
    # Another process writes the file, and on a busy machine it can be late.
    for _ in range(120):
        if found.exit_code is not None:
            break
        time.sleep(0.5)
        found = read_run(path)
    return found


def test_project_folder_and_end_of_the_run(folder, run):
    assert run.project == "motr_synthetic"
    assert run.exit_code == 0
    assert wandb.run is None  # finished, so that a second training in this process gets a run of its own
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints", "config.yaml", "metrics.csv", "tracks", "wandb",
    ]  # fmt: skip


def test_settings_of_model_data_and_optimizer(folder, run):
    model, data = run.config["model"], run.config["data"]
    assert model["class_path"].endswith("MOTR")
    assert model["init_args"]["optimizer"]["lr"] == 0.001
    assert model["init_args"]["detector"]["embed_dim"] == 32
    assert data["init_args"]["image_size"] == [48, 64]
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert {name: run.config[name] for name in written} == written


def test_plugins_and_their_weights(run):
    plugin = run.config["plugins"]["unitrack"]
    assert (plugin["weight"], plugin["window"]) == (0.25, 3)
    assert "warmup_steps" in plugin


def test_metrics_agree_with_the_csv_file(folder, run):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "train/unitrack/loss", "val/HOTA", "val/IDF1"):
        expected = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        logged = [(one["trainer/global_step"], one[name]) for one in run.history if name in one]
        assert len(expected) == 2
        assert logged == [(step, pytest.approx(value)) for step, value in expected], name


def test_table_of_scores(folder, run):
    (root,) = folder.glob("wandb/offline-run-*/files")
    paths = [one["val/scores.path"] for one in run.history if "val/scores.path" in one]
    assert len(paths) == 2
    table = json.loads((root / paths[-1]).read_text())
    assert table["columns"] == ["sequence", *COLUMNS[0]]
    assert [row[0] for row in table["data"]] == ["synthetic-val-0-0", "COMBINED"]
    scalars = [one for one in run.history if "val/MOTA" in one][-1]
    for name in ("HOTA", "MOTA", "FN"):
        assert table["data"][-1][table["columns"].index(name)] == pytest.approx(scalars[f"val/{name}"])


def test_video_of_tracks(folder, run):
    (root,) = folder.glob("wandb/offline-run-*/files")
    key = "val/tracks/synthetic-val-0-0.videos"
    videos = [one[key] for one in run.history if key in one]
    assert [len(one) for one in videos] == [1, 1]
    local = folder / "tracks" / "epoch-001-synthetic-val-0-0.mp4"
    assert (root / videos[-1][0]["path"]).read_bytes() == local.read_bytes()
