"""`mot fit|validate|test|predict`: configs, folders, checkpoints and error messages."""

from __future__ import annotations

import csv
import os
import signal

import pytest
import torch
import yaml
from lightning import Trainer

from mot_core.cli.fit.callbacks import Interruption
from mot_core.data import SyntheticVideo
from mot_core.io import read_mot
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
            "birth_threshold": 0.009,  # low enough for untrained weights to produce tracks
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
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # set by Lightning
        monkeypatch.setenv(name, "0")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folder of a short training."""
    from mot_core.cli import main

    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    assert main(["fit", "--config", str(folder / "small.yaml"), "--output", str(folder / "run")]) == 0
    return folder / "run" / "version_0"


@pytest.fixture
def last(trained):
    """The last checkpoint of the short training."""
    return trained / "checkpoints" / "last.ckpt"


@pytest.fixture
def videos(in_tmp):
    """A folder of two sequences of five frames."""
    for number in range(2):
        SyntheticVideo(num_videos=2, num_frames=5, image_size=(48, 80)).save(in_tmp / "videos", number)
    return in_tmp / "videos"


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def test_fit_writes_config_metrics_and_checkpoint(trained):
    assert sorted(path.name for path in trained.iterdir()) == ["checkpoints", "config.yaml", "metrics.csv"]
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["last.ckpt"]
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert len([row for row in rows if row["train/loss"]]) == 6
    assert len([row for row in rows if row["val/HOTA"]]) == 2
    tracker = Tracker.from_checkpoint(trained / "checkpoints" / "last.ckpt")
    assert isinstance(tracker, MOTR)
    assert tracker.arguments["detector"]["num_queries"] == 5


def test_saved_config_reproduces_the_run_in_a_new_folder(mot, trained, last):
    before = weights(last)
    done = mot("fit", "--config", trained / "config.yaml", "--output", trained.parent)
    assert done.code == 0, done.err
    assert sorted(path.name for path in trained.parent.iterdir()) == ["version_0", "version_1"]
    again = weights(trained.parent / "version_1" / "checkpoints" / "last.ckpt")
    assert all(torch.equal(before[name], again[name]) for name in before)


@pytest.mark.parametrize("moment", ["on_train_batch_start", "on_validation_batch_start"])
def test_interrupted_training_resumes_exactly(mot, monkeypatch, last, moment):
    def interrupt(self, trainer, *_):
        if trainer.global_step == (1 if moment == "on_train_batch_start" else 3) and trainer.current_epoch == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, moment, interrupt)
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        done = mot("fit", "--config", "small.yaml", "--output", "run")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert done.code == 130
    saved = os.path.join("run", "version_0", "checkpoints", "last.ckpt")
    assert f"mot: interrupted: {saved} is saved; rerun with --ckpt_path last to resume\n" in done.err
    assert mot("fit", "--config", "small.yaml", "--output", "run", "--ckpt_path", "last").code == 0
    whole, resumed = weights(last), weights("run/version_1/checkpoints/last.ckpt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_crash_loses_at_most_one_epoch(mot, monkeypatch, in_tmp):
    """A crash, unlike an interruption, comes without a signal."""

    def crash(self, trainer, *_):
        if trainer.current_epoch == 1:
            raise ConnectionError("crash")

    monkeypatch.setattr(Interruption, "on_train_batch_start", crash)
    assert mot("fit", "--config", "small.yaml", "--output", "run").code != 0
    (path,) = in_tmp.glob("run/version_0/checkpoints/*")
    assert path.name == "last.ckpt"
    assert torch.load(path, weights_only=True)["epoch"] == 0


def test_files_of_killed_runs_are_removed(mot, last, in_tmp):
    stale = in_tmp / "run/version_0/checkpoints/.last.ckpt.0123abcd.tmp"
    stale.parent.mkdir(parents=True)
    stale.touch()
    assert mot("fit", "--config", "small.yaml", "--output", "run", "--trainer.fast_dev_run", "true").code == 0
    assert not stale.exists()


def test_a_second_signal_stops_immediately(mot, monkeypatch, in_tmp):
    def interrupt(self, *_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Interruption, "on_train_batch_start", interrupt)
    done = mot("fit", "--config", "small.yaml", "--output", "run")
    assert (done.code, done.err.splitlines()[-1]) == (130, "mot: interrupted")
    assert not (in_tmp / "run/version_0/checkpoints").exists()


def test_checkpoint_suffices_for_test_and_predict(mot, last, videos):
    given = ("--ckpt_path", last, "--data", "MOTDataModule", "--data.benchmark", "generic", "--output", "out")
    done = mot("test", *given, "--data.test", videos)
    assert done.code == 0, done.err
    assert "COMBINED" in done.out
    names = sorted(path.stem for path in videos.iterdir())
    tested = {name: (videos.parent / "out" / f"{name}.txt").read_text() for name in names}
    assert all(tested.values())
    assert set(read_mot(videos.parent / "out" / f"{names[0]}.txt", kind="results").frames.tolist()) <= set(range(1, 6))
    scores = mot("eval", "out", "--gt", videos, "--benchmark", "generic")
    assert scores.code == 0, scores.err
    done = mot("predict", *given[:-1], "predicted", "--data.predict", videos)
    assert done.code == 0, done.err
    assert {name: (videos.parent / "predicted" / f"{name}.txt").read_text() for name in names} == tested


def test_validate_reproduces_the_scores_of_training(mot, trained, last):
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    scores = [float(row["val/MOTA"]) for row in rows if row["val/MOTA"]]
    assert scores[-1] != 0
    done = mot("validate", "--config", trained / "config.yaml", "--ckpt_path", last)
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if "val/MOTA" in line]
    assert float(line.split("│")[2]) == pytest.approx(scores[-1])


def test_init_from_a_checkpoint_with_other_classes(mot, last, in_tmp):
    arguments = ("fit", "--config", "small.yaml", "--init", last, "--output", "run")
    done = mot(*arguments, "--model.detector.num_classes", "2", "--trainer.limit_train_batches", "0")
    assert done.code == 0, done.err
    assert "4 re-made" in done.err
    assert "re-made: detector.class_heads.0.weight ((1, 32) in the checkpoint, (2, 32) in the model)" in done.err
    report = (in_tmp / "run/version_0/init.txt").read_text()
    assert report.count("\n") > 5
    # With the same architecture all weights are loaded, and a learning rate of 0 keeps them.
    done = mot(*arguments, "--model.optimizer.lr", "0.0", "--trainer.max_epochs", "1")
    assert done.code == 0, done.err
    before, after = weights(last), weights("run/version_1/checkpoints/last.ckpt")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--config", "nowhere.yaml"], 1, "config nowhere.yaml: expected a YAML file"),
        (["--config", "small.yaml", "--model.detector.num_querys", "3"], 2, "did you mean num_queries?"),
        (["--config", "small.yaml", "--model.drop", "much"], 2, "model.drop: expected float, got much"),
        (["--config", "small.yaml", "--model.drop", "2"], 1, "drop: expected a probability in [0, 1], got 2"),
        (["--config", "small.yaml", "--trainer.max_epoch", "3"], 2, "there is no trainer.max_epoch; did you mean"),
        (["--config", "small.yaml", "--trainer.max_epochs", "x"], 2, "expected int or null, got x"),
        (["--config", "small.yaml", "--trainer.callbacks+=ResultWriter"], 2, "did you mean ResultsWriter?"),
        (["--model", "MOTRR"], 2, "model: there is no class MOTRR; did you mean MOTR?"),
        (["--model", "my_module.Tracker"], 2, "my_module.Tracker cannot be imported: No module named 'my_module'"),
        (["--model", "torch.nn.Linear"], 2, "model: expected a LightningModule"),
        (["--data", "SyntheticDataModule"], 1, "--model: expected a model, got none; add --model"),
        (["--model", "MOTR"], 1, "--data: expected a data module, got none; add --data"),
        (
            ["--config", "small.yaml", "--ckpt_path", "no.ckpt"],
            1,
            "--ckpt_path: expected an existing checkpoint file, got no.ckpt",
        ),
        (["--config", "small.yaml", "--ckpt_path", "last"], 1, "--ckpt_path last: expected a checkpoint in runs/fit"),
        (["--config", "small.yaml", "--init", "small.yaml"], 1, "small.yaml: expected a checkpoint written by PyTorch"),
        (["--config", "small.yaml", "--data", "MOTDataModule", "--data.train", "no"], 1, "no"),
        (["extra"], 2, "there is no extra"),
        (
            ["--config", "small.yaml", "--trainer.accumulate_grad_batches", "0"],
            1,
            "--trainer.accumulate_grad_batches: expected at least 1, got 0",
        ),
        (
            ["--config", "small.yaml", "--trainer.check_val_every_n_epoch", "0"],
            1,
            "--trainer.check_val_every_n_epoch: expected at least 1, got 0",
        ),
        (
            ["--config", "small.yaml", "--model.detector.num_queries", "0"],
            1,
            "mot: error: num_queries: expected 1 to 100,000, got 0",
        ),
        (
            ["--config", "motip_synthetic", "--model.num_words", "1000000000000"],
            1,
            "mot: error: num_words: expected 1 to 1,000,000, got 1,000,000,000,000",
        ),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(mot, arguments, code, words):
    done = mot("fit", *arguments)
    assert words in done.err
    assert (done.code, done.err.count("\n")) == (code, 1)


def test_untrained_weights_are_rejected(mot):
    done = mot("test", "--config", "small.yaml")
    assert done.code == 1
    assert done.err.startswith("mot: error: --ckpt_path: expected the checkpoint of a trained tracker, got none")


def test_checkpoint_of_another_architecture(mot, last):
    done = mot("test", "--config", "small.yaml", "--ckpt_path", last, "--model.detector.num_queries", "7")
    assert done.code == 1
    assert "the checkpoint does not match the model: size mismatch for detector." in done.err
    assert done.err.count("\n") == 1


def test_print_config(mot):
    done = mot("fit", "--config", "motip_synthetic", "--model.detector.num_queries", "33", "--print_config")
    assert done.code == 0
    printed = yaml.safe_load(done.out)
    assert printed["model"]["init_args"]["detector"]["num_queries"] == 33
    assert printed["model"]["class_path"] == "mot_core.trackers.MOTIP"
    assert printed["data"]["class_path"] == "mot_core.data.SyntheticDataModule"


def test_integer_batch_limits_stay_integers(build_config, monkeypatch):
    """`typing` caches equal unions, and Lightning declares one of them with float first."""
    for name in ("limit_train_batches", "limit_val_batches"):
        monkeypatch.setitem(Trainer.__init__.__annotations__, name, float | int | None)
    limits = ["--trainer.limit_train_batches", "1", "--trainer.limit_val_batches=0.5"]
    _, _, trainer = build_config("small.yaml", *limits)
    assert (trainer.limit_train_batches, trainer.limit_val_batches) == (1, 0.5)
    assert isinstance(trainer.limit_train_batches, int)  # 1.0 would mean all batches


def test_the_test_resizes_frames_as_training_recorded(mot, in_tmp, videos):
    resized = ("--data.augmentation", '{"short_sides": [32, 64], "max_long_side": 200}', "--trainer.max_epochs", 1)
    assert mot("fit", "--config", "small.yaml", "--output", "resized", *resized).code == 0
    checkpoint = in_tmp / "resized/version_0/checkpoints/last.ckpt"
    data = ("--data", "MOTDataModule", "--data.benchmark", "generic", "--data.test", videos)
    assert mot("test", "--ckpt_path", checkpoint, *data, "--output", "tested").code == 0
    assert mot("track", videos, "--checkpoint", checkpoint, "--output", "tracked").code == 0
    other = ("--data.resize", '{"short_sides": [48], "max_long_side": 200}')
    assert mot("test", "--ckpt_path", checkpoint, *data, *other, "--output", "other").code == 0
    for path in sorted((in_tmp / "tracked").glob("*.txt")):
        assert (in_tmp / "tested" / path.name).read_text() == path.read_text() != ""
        assert (in_tmp / "other" / path.name).read_text() != path.read_text()
