"""``mot fit`` on detections alone: tracking with the checkpoint, exact resume and error messages."""

import shutil
from contextlib import suppress

import lightning
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from _helpers.opened_files import opened
from _helpers.two_process.launch import launch
from em_kalman import EMKalmanTracker, load_model
from em_kalman.lightning import DetectionDataModule, EMKalmanModule, SyntheticDetectionDataModule
from mot_core.cli import main
from mot_core.cli.fit.configs import find_config
from mot_core.io import make_scene, read_mot

SHORT = ["--trainer.max_epochs", "2", "--model.warmup_epochs", "1", "--data.stride", "8"]
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("train")
    for seed, name in enumerate(("MOT17-02-FRCNN", "MOT17-04-FRCNN")):
        make_scene(seed, 5, 100, (480, 640)).save(root, name)
    return root


@pytest.fixture
def train(clean, tmp_path):
    return shutil.copytree(clean, tmp_path / "train")


@pytest.fixture
def fit(tmp_path, monkeypatch, train):
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(name, "0")

    def run(*arguments, output="run", config="em_kalman_mot17"):
        data = ["--data.root", str(train)] if config == "em_kalman_mot17" else []
        return main(["fit", "--config", config, *data, "--output", output, *SHORT, *map(str, arguments)])

    return run


def weights(path):
    return load_model(path).state_dict()


def checkpoint(tmp_path, output="run", version=0):
    return tmp_path / output / f"version_{version}" / "checkpoints" / "last.ckpt"


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_only_detections_are_opened(fit, train, tmp_path):
    """The weights are bitwise equal without any ground truth."""
    with opened() as paths:
        assert fit() == 0
    assert sum(path.endswith("det.txt") for path in paths) >= 2
    assert not [path for path in paths if "gt" in path.split("/")]
    for folder in train.iterdir():
        shutil.rmtree(folder / "gt")
    assert fit(output="without") == 0
    assert_same(weights(checkpoint(tmp_path)), weights(checkpoint(tmp_path, "without")))


def test_checkpoint_tracks(fit, train, tmp_path, capsys):
    assert fit("--model.hidden", 7) == 0
    err = capsys.readouterr().err
    assert "train/unexplained" in err
    assert "val/nll_per_det" in err
    path = checkpoint(tmp_path)
    assert load_model(path).network.layers[0].out_features == 7
    assert load_model(path).detection_probability[0] < 1  # learned
    arguments = ["--tracker", "em_kalman", "--checkpoint", str(path), "--output", str(tmp_path / "out")]
    assert main(["track", str(train), *arguments]) == 0
    (found,) = {len(read_mot(file, kind="results")) > 0 for file in (tmp_path / "out").glob("MOT17-*.txt")}
    assert found


class PowerCut(lightning.Callback):
    """Stops training after a number of steps."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == self.step:
            raise ConnectionError("power cut")


def train_scenes(folder, *callbacks, workers=0, path=None):
    """Train two stages of two epochs of three steps with a checkpoint per step; return weights and optimizer."""
    torch.manual_seed(0)
    module = EMKalmanModule(warmup_epochs=2)
    data = SyntheticDetectionDataModule(2, 4, 120, stride=10, num_workers=workers)
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", logger=False, callbacks=[save, *callbacks], enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, gradient_clip_val=10.0, deterministic=True,
    )  # fmt: skip
    with suppress(ConnectionError):
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
    (state,) = [one.state_dict()["state"] for one in trainer.optimizers]
    return {**module.state_dict(), **{f"{n} {k}": v for n, one in state.items() for k, v in one.items()}}


@pytest.mark.filterwarnings("ignore:Be aware that when using", "ignore:Checkpoint directory .* exists")
def test_exact_resume(tmp_path):
    """Resume within epochs, and before and after the start of the second stage."""
    whole = train_scenes(tmp_path / "whole")
    assert len(list((tmp_path / "whole").glob("*.ckpt"))) == 12
    for step, workers in (2, 0), (6, 0), (7, 2):
        folder = tmp_path / str(step)
        train_scenes(folder, PowerCut(step), workers=workers)
        assert_same(whole, train_scenes(folder, workers=workers, path=folder / f"step={step}.ckpt"))


def test_synthetic_config_without_files(fit, tmp_path):
    assert fit("--data.num_scenes", 2, "--data.num_objects", 4, config="em_kalman_synthetic") == 0
    assert weights(checkpoint(tmp_path))


@pytest.mark.parametrize("name", ["em_kalman_mot17", "em_kalman_synthetic"])
def test_config_headers_name_the_command(name):
    text = find_config(name).read_text()
    assert text.startswith("# ")
    assert f"mot fit --config {name}" in text
    content = yaml.safe_load(text)
    assert content["trainer"]["max_epochs"] > content["model"]["init_args"]["warmup_epochs"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data.sequences", "[KITTI-*]"], "expected detections of ['KITTI-*'], found none in"),
        (["--data.detections", "sort"], "has no detections 'sort'"),
        (["--data.num_frames", "99"], "no window of 99 frames with frame_step 1 has detections"),
        (["--data.num_frames", "1"], "num_frames, stride, frame_step: expected at least 2, 1, 1, got 1"),
        (["--data.val_share", "1"], "val_share must be from 0 to below 1, got 1.0"),
        (
            ["--model.objective", "smoothed", "--model.learn_noise", "true"],
            "expected predictive with learn_noise=True, got smoothed",
        ),
        (
            ["--model.warmup_epochs", "0", "--model.lr", "1e9", "--model.learn_noise", "false"],
            "of the detections are explained as clutter",
        ),
    ],
)
def test_invalid_arguments(fit, capsys, arguments, words):
    assert fit(*arguments) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mot: error")]
    assert words in line


def test_invalid_checkpoints(tmp_path, fit):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other.ckpt: expected an em_kalman model .*, got another checkpoint"):
        load_model(tmp_path / "other.ckpt")
    with pytest.raises(FileNotFoundError, match="file not found; train a model with mot fit"):
        EMKalmanTracker(checkpoint=str(tmp_path / "missing.ckpt"))


def test_warm_up_checkpoint_is_rejected(fit, tmp_path):
    """A checkpoint of the warm-up is rejected, and can be resumed."""
    assert fit("--model.warmup_epochs", 2, "--trainer.max_epochs", 1) == 0
    with pytest.raises(ValueError, match=r"last.ckpt: training stopped before warm-up ended"):
        load_model(checkpoint(tmp_path))
    assert fit("--model.warmup_epochs", 2, "--trainer.max_epochs", 2, "--ckpt_path", "last") == 0
    assert load_model(checkpoint(tmp_path, version=1)).detection_probability[0] < 1


def batches(data):
    return [batch.boxes_xyxy for batch in data.train_dataloader()]


def test_windows_are_independent_of_workers_and_processes():
    options = {"num_scenes": 2, "num_objects": 3, "scene_frames": 60, "stride": 8}
    one, other = (SyntheticDetectionDataModule(**options, num_workers=workers) for workers in (0, 2))
    assert all(torch.equal(a, b) for a, b in zip(batches(one), batches(other), strict=True))
    first = one.train_dataloader()
    first.clip_sampler.set_epoch(1)
    assert not torch.equal(next(iter(first)).boxes_xyxy[0, 0], batches(one)[0][0, 0])
    singles = [window.frames[0, 0].item() for window in SyntheticDetectionDataModule(**options).val_dataloader()]
    assert singles == []  # 6 frames are too short for a window


@pytest.mark.slow
def test_two_processes_train_equally(tmp_path):
    """Each process trains on half of the windows, as one process on all; unused parameters stop neither."""
    launch("detections", tmp_path)
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert first["windows"] != second["windows"]
    assert_same(first["weights"], second["weights"])
    assert first["metrics"] == second["metrics"]
    assert first["metrics"]["val/nll_per_det"] > 0
    for name, weight in one["weights"].items():  # without a common divisor of the losses, 6e-3
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-12, atol=1e-12, msg=name)


def test_validation_uses_the_last_frames(clean):
    data = DetectionDataModule(clean, val_share=0.2, stride=5, benchmark="MOT17")
    data.setup("fit")
    last = max(batch.frames.max().item() for batch in data.train_dataloader())
    held_out = [batch.frames for batch in data.val_dataloader()]
    assert last <= 80
    assert min(frames.min().item() for frames in held_out) == 81
    assert sum(len(frames) for frames in held_out) == 6
