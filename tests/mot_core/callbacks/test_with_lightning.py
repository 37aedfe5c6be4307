"""Callbacks together with those of Lightning: loggers, progress bar, checkpoints and command line."""

import csv
import inspect
import re

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, WandbLogger

import mot_core.callbacks
from mot_core.callbacks import EmbeddingSimilarity, MemoryEstimate, ResultsWriter, TrackVideo
from mot_core.trackers import Tracker

BASES = {"PluginCallback"}
CALLBACKS = [getattr(mot_core.callbacks, name) for name in mot_core.callbacks.__all__ if name not in BASES]


def all_callbacks():
    return [
        ResultsWriter(validation=True),
        TrackVideo(kind="sheet", max_frames=1),
        EmbeddingSimilarity(min_score=0.0),
        MemoryEstimate(),
    ]


@pytest.fixture(scope="module")
def run(make_trainer, make_tracker, make_data, tmp_path_factory):
    """A training run with all callbacks, a CSV logger and Lightning's progress bar."""
    folder = tmp_path_factory.mktemp("run")
    bar = RichProgressBar()
    shown = []
    original = bar.get_metrics
    bar.get_metrics = lambda *args: shown.append(original(*args)) or shown[-1]
    trainer = make_trainer(
        folder,
        [*all_callbacks(), bar, ModelCheckpoint(filename="best", monitor="val/similarity_mean")],
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=1,
        enable_checkpointing=True,
        enable_progress_bar=True,
    )
    tracker = make_tracker()
    trainer.fit(tracker, make_data(num_frames=2))
    return folder, tracker, shown


def test_files_in_the_run_folder(run):
    folder, _, _ = run
    assert sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if "metrics" not in path.name
    ) == [
        "checkpoints/best.ckpt",
        "results/synthetic-val-0-0.txt",
        "results/synthetic-val-0-1.txt",
        "similarity/epoch-000.json",
        "similarity/epoch-000.png",
        "tracks/epoch-000-synthetic-val-0-0.png",
    ]


def test_metrics_in_the_csv_file(run):
    with (run[0] / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/HOTA", "val/similarity_mean"):
        assert any(row[name] for row in rows), name


def test_metrics_of_the_progress_bar(run):
    shown = [metrics for metrics in run[2] if metrics]
    assert shown
    names = set().union(*shown)
    assert "train/loss" in names
    assert len(names) < 6


def test_checkpoint_loads_without_callbacks(run):
    folder, tracker, _ = run
    loaded = Tracker.from_checkpoint(folder / "checkpoints/best.ckpt")
    state = tracker.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_wandb_offline(make_trainer, make_tracker, make_data, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: pip install './packages/mot-core[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logger = WandbLogger(save_dir=tmp_path, offline=True, name="run", project="test")
    trainer = make_trainer(tmp_path, all_callbacks(), logger=logger, log_every_n_steps=1)
    trainer.fit(make_tracker(), make_data(num_frames=2))
    assert list(tmp_path.rglob("run-*.wandb"))
    assert list(tmp_path.rglob("tracks/epoch-000-synthetic-val-0-0.png"))
    logger.experiment.finish()


@pytest.mark.parametrize("callback", CALLBACKS)
def test_command_line_by_short_name_with_help_for_every_argument(callback, capsys):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--callback", type=Callback)
    name = callback.__name__
    built = parser.instantiate(parser.parse_args([f"--callback={name}"])).callback
    assert type(built) is callback
    with pytest.raises(SystemExit):
        parser.parse_args([f"--callback.help={name}"])
    text = " ".join(capsys.readouterr().out.split())
    for argument, parameter in inspect.signature(callback).parameters.items():
        explained = re.search(rf"--callback.{argument} \S+ (?!\(type).+?\(type: ", text)
        assert explained, f"{argument} has no description"
        assert getattr(built, argument) == parameter.default
