"""Shipped configs and sweep of FDTA, with the `mot` command."""

import csv
import json

import pytest
import yaml

from mot_core.cli import main
from mot_core.cli.fit.configs import shipped_configs
from mot_core.trackers import Tracker

TINY = [
    "--trainer.max_epochs=2", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=2",
    "--trainer.num_sanity_val_steps=0", "--trainer.check_val_every_n_epoch=1", "--data.init_args.num_videos=2",
    "--data.init_args.num_val_videos=1", "--data.init_args.num_frames=4", "--data.init_args.image_size=[48, 64]",
    "--data.init_args.clip_length=2", "--model.init_args.detector.embed_dim=32",
    "--model.init_args.detector.ffn_dim=32", "--trainer.log_every_n_steps=1",
]  # fmt: skip


@pytest.fixture
def mot(tmp_path, monkeypatch):
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(name, "0")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([str(one) for one in arguments])


def columns(folder):
    (table,) = folder.glob("**/metrics.csv")
    with table.open() as lines:
        return {name.removesuffix("_step") for name in next(csv.reader(lines))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "adapters"),
    [
        ("fdta_motip_synthetic", ["fdta_spatial", "fdta_temporal", "fdta_identity"]),
        ("fdta_motr_synthetic", ["fdta_temporal", "fdta_identity"]),
    ],
)
def test_synthetic_config(mot, tmp_path, config, adapters):
    """Trained, resumed into tracking without the identity adapter, whose weights are not needed there."""
    assert mot("fit", "--config", config, "--output", "run", *TINY) == 0
    folder = tmp_path / "run" / "version_0"
    logged = columns(folder)
    assert {f"train/{name}/loss" for name in adapters} <= logged
    assert {"train/fdta_identity/similarity_above_0.9", "train/fdta_identity/pairs"} <= logged
    assert ("train/fdta_spatial/depth_error" in logged) == ("fdta_spatial" in adapters)
    last = folder / "checkpoints" / "last.ckpt"
    tracker = Tracker.from_checkpoint(last)
    assert list(tracker.plugins) == [name for name in adapters if name != "fdta_identity"]
    assert not any("identity" in name for name in tracker.state_dict())
    assert mot("test", "--config", config, "--ckpt_path", last, "--output", "out", *TINY) == 0


@pytest.mark.slow
def test_identity_adapter_is_not_needed_to_test(mot, tmp_path, capsys):
    """A checkpoint trained with the identity adapter is tested without it, but not resumed without it."""
    callback = ("--trainer.callbacks+=IdentityAdapterCallback", "--trainer.callbacks.start_epoch=0")
    assert mot("fit", "--config", "motip_synthetic", "--output", "run", *callback, *TINY) == 0
    last = tmp_path / "run" / "version_0" / "checkpoints" / "last.ckpt"
    assert mot("test", "--config", "motip_synthetic", "--ckpt_path", last, "--output", "out", *TINY) == 0
    assert mot("test", "--config", "motip_synthetic", "--ckpt_path", last, "--output", "out", *callback, *TINY) == 0
    more = [*TINY[1:], "--trainer.max_epochs=3"]
    assert mot("fit", "--config", "motip_synthetic", "--ckpt_path", last, "--output", "run", *callback, *more) == 0
    assert mot("fit", "--config", "motip_synthetic", "--ckpt_path", last, "--output", "run", *more) != 0
    assert "the checkpoint does not match the model" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", ["dancetrack", "sportsmot", "bft"])
def test_config_of_the_paper(dataset):
    """The recipe differs from MOTIP's by the adapters, the depth maps and the length of training."""
    files = shipped_configs()
    ours, base = (yaml.safe_load(files[f"{name}motip_{dataset}"].read_text()) for name in ("fdta_", ""))
    (callback,) = ours["trainer"].pop("callbacks")
    assert callback["class_path"] == "FDTACallback"
    assert ours["data"]["init_args"].pop("with_depth") is True
    assert (ours["trainer"]["max_epochs"], ours["data"]["init_args"]["clip_length"]) == (11, 30)
    model = ours["model"]["init_args"]
    assert (model["max_distance"], model["miss_tolerance"]) == (30, 30)
    for config in (ours, base):
        config["trainer"].pop("max_epochs")
        config["data"]["init_args"].pop("clip_length")
        for name in ("max_distance", "miss_tolerance"):
            config["model"]["init_args"].pop(name)
        for name in ("milestones", "warmup_epochs"):
            config["model"]["init_args"]["optimizer"].pop(name)
    assert ours == base


def test_paper_config_is_accepted(mot, capsys):
    assert mot("fit", "--config", "fdta_motip_dancetrack", "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    (callback,) = printed["trainer"]["callbacks"]
    assert callback["class_path"] == "fdta_adapters.lightning.FDTACallback"
    assert callback["init_args"]["spatial"] == {"foreground_weight": 7.0}


@pytest.mark.slow
def test_sweep(mot, tmp_path):
    pytest.importorskip("optuna")
    assert mot("sweep", "fdta_weights", "--trials", "1", "--output", "out", "--", *TINY) == 0
    (row,) = json.loads((tmp_path / "out" / "trials.json").read_text())
    assert row["state"] == "complete"
    folder = tmp_path / "out" / "trial-000" / "version_0"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (ours,) = [one["init_args"] for one in config["trainer"]["callbacks"] if "FDTA" in one["class_path"]]
    assert (ours["depth_weight"], ours["identity_weight"], ours["spatial"]["num_bins"]) == (1.0, 1.0, 30)
    assert config["model"]["init_args"]["id_weight"] == 1.0
    assert "train/fdta_spatial/loss" in columns(folder)


def test_depth_maps_must_be_loaded(mot, capsys):
    arguments = ["--trainer.callbacks+=SpatialAdapterCallback", *TINY]
    assert mot("fit", "--config", "motip_synthetic", "--output", "run", *arguments) != 0
    assert "load them (--data.with_depth true), or set supervise to false" in capsys.readouterr().err
