"""Configs proposed from a folder of sequences: `mot configs suggest` and `mot fit --data FOLDER`."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from mot_core.cli.fit.suggestion import STEPS, network_short_side, propose, summarize
from mot_core.data import SyntheticVideo
from mot_core.io import BoxTable, find_sequences, write_mot

FRAMES = 24


def save(folder, name, size=(240, 320), step=4, box=(60, 40), objects=3):
    """Write a sequence of boxes that move to the right, with black images."""
    (folder / name / "img1").mkdir(parents=True)
    for number in range(1, FRAMES + 1):
        Image.new("RGB", size[::-1]).save(folder / name / "img1" / f"{number:06d}.png")
    frames = np.repeat(np.arange(1, FRAMES + 1), objects)
    ids = np.tile(np.arange(objects), FRAMES)
    left, top = 4.0 + step * frames, 10.0 + 70 * ids
    boxes = np.stack([left, top, left + box[1], top + box[0]], 1)
    (folder / name / "gt").mkdir()
    write_mot(folder / name / "gt" / "gt.txt", BoxTable(frames, ids, boxes), kind="ground_truth")


@pytest.fixture
def street(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "street", name)
    return tmp_path / "street"


def test_numbers_of_the_data(street):
    found = summarize(find_sequences(street, benchmark="generic"))
    assert (found.sequences, found.frames, found.image_size, found.classes) == (2, 2 * FRAMES, (240, 320), 1)
    assert (found.objects, found.size) == (3, (60, 40))
    assert found.small_side == pytest.approx(np.sqrt(2400))
    assert found.interval == 5  # 20 of 40 pixels are left, an IoU of 1/3; 24 pixels leave 16, 0.25


@pytest.mark.parametrize(("step", "interval"), [(0, 8), (10, 2), (39, 1)])
def test_interval_follows_the_motion(tmp_path, step, interval):
    save(tmp_path / "street", "a", step=step, size=(240, 1000))
    assert summarize(find_sequences(tmp_path / "street", benchmark="generic")).interval == interval


@pytest.mark.parametrize(
    ("size", "box", "gpu", "side"),
    [
        ((240, 320), (60, 40), False, 128),  # 49 pixels become 26
        ((1080, 1920), (200, 100), False, 160),
        ((1080, 1920), (40, 20), True, 768),
        ((1080, 1920), (20, 10), True, 800),
        ((96, 160), (8, 8), True, 96),  # never enlarged
    ],
)
def test_image_size_follows_the_objects(tmp_path, size, box, gpu, side):
    save(tmp_path / "street", "a", size=size, box=box, step=0)
    found, config = propose(tmp_path / "street", gpu=gpu)
    assert network_short_side(found, gpu) == side
    augmentation = config["data"]["init_args"]["augmentation"]
    assert max(augmentation["short_sides"]) == side
    assert all(one % 16 == 0 for one in augmentation["short_sides"])
    assert augmentation["max_long_side"] >= side * size[1] / size[0]


def test_number_of_steps_and_milestones(street):
    _, config = propose(street)
    trainer, optimizer = config["trainer"], config["model"]["init_args"]["optimizer"]
    assert trainer["limit_train_batches"] == FRAMES // 4  # half of 48 frames, in batches of 4
    steps = trainer["max_epochs"] * trainer["limit_train_batches"]
    assert STEPS <= steps < STEPS * 1.01
    assert optimizer["milestones"] == [round(trainer["max_epochs"] * 5 / 6)]
    assert config["data"]["init_args"]["split"] == "half"


def test_folders_train_and_val_are_used(tmp_path):
    for part in ("train", "val"):
        save(tmp_path / "mine" / part, part)
    data = propose(tmp_path / "mine")[1]["data"]["init_args"]
    assert (data["train"], data["val"]) == (str(tmp_path / "mine" / "train"), str(tmp_path / "mine" / "val"))
    assert "split" not in data


def test_the_command_prints_a_config(mot, street):
    done = mot("configs", "suggest", street, "--device", "cpu")
    assert (done.code, done.err) == (0, "")
    assert "# 2 sequences with 48 frames of 320x240; 3.0 objects per frame." in done.out
    assert "# Objects: 40x60 pixels in the median; a tenth has an area below 49x49 pixels." in done.out
    assert yaml.safe_load(done.out) == propose(street)[1]


def test_missing_images_and_ground_truth_are_reported(mot, street):
    for path in (street / "a" / "img1").iterdir():
        path.unlink()
    done = mot("configs", "suggest", street)
    assert done.code == 1
    assert "mot: error: a: expected images in" in done.err
    assert "expected a data module or a folder of sequences, found nothing at no/such" in (
        mot("fit", "--data", "no/such").err
    )


@pytest.mark.parametrize("with_config", [False, True])
def test_training_on_a_folder(mot, tmp_path, monkeypatch, with_config):
    monkeypatch.chdir(tmp_path)
    SyntheticVideo(num_videos=1, num_frames=8, image_size=(64, 96)).save(tmp_path / "mine", 0)
    config = ("--config", "fairmot_synthetic") if with_config else ()
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--trainer.limit_val_batches", 2)
    cpu = ("--trainer.accelerator", "cpu", "--output", "runs")
    done = mot("fit", *config, "--data", "mine", *short, *cpu, "--data.batch_size=1")
    assert done.code == 0, done.err
    assert "# 1 sequences with 8 frames of 96x64" in done.err
    assert ("class_path: YOLOXByteTrack" in done.err) != with_config
    saved = yaml.safe_load((tmp_path / "runs" / "version_0" / "config.yaml").read_text())
    assert saved["model"]["class_path"].endswith("FairMOT" if with_config else "YOLOXByteTrack")
    data = saved["data"]["init_args"]
    assert (data["train"], data["split"], data["batch_size"]) == ("mine", "half", 1)
