"""`mot track` with a trained tracker on sequences and image folders; results equal Trainer.predict."""

from __future__ import annotations

import re
import shutil

import av
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from _helpers.trackers.image_toy import RESIZE, Toy, predicted, save, table
from _helpers.trackers.toy_tracker import SMALL
from mot_core.cli.track import images
from mot_core.data import Augmentation
from mot_core.io import read_kitti
from mot_core.trackers import DetectorSettings
from mot_core.visualization import write_video


def test_results_equal_those_of_the_trainer(toy, videos, checkpoint, tmp_path):
    done = toy(videos)
    assert (done.code, done.err) == (0, "")
    expected = predicted(checkpoint, videos)
    assert len(expected) == 2
    for name, rows in expected.items():
        np.testing.assert_allclose(table(tmp_path / "out" / f"{name}.txt"), rows, atol=1e-4)
        assert name in done.out
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert record["checkpoint"] == str(checkpoint)
    assert record["device"] == "cpu"
    assert record["resize"]["short_sides"] == [40]
    assert record["parameters"] == {"detector": None, "width": 3, "shift": 0.0}
    assert record["sequences"]["synthetic-train-4-0"] == {"benchmark": "generic", "frames": "1-7"}


def test_resize_defaults_to_that_of_training(toy, videos, checkpoint, tmp_path, monkeypatch):
    seen = []
    original = Toy.track_frame
    monkeypatch.setattr(Toy, "track_frame", lambda self, batch, ctx: seen.append(batch) or original(self, batch, ctx))
    assert toy(videos / "synthetic-train-4-0").code == 0
    assert {tuple(batch.image_size[0].tolist()) for batch in seen} == {(38, 50)}  # limited by the longer side
    seen.clear()
    assert toy(videos / "synthetic-train-4-0", "--resize", 32, 100).code == 0
    assert {tuple(batch.image_size[0].tolist()) for batch in seen} == {(32, 42)}
    expected = predicted(checkpoint, videos, Augmentation(short_sides=(32,), max_long_side=100))
    name = "synthetic-train-4-0"
    np.testing.assert_allclose(table(tmp_path / "out" / f"{name}.txt"), expected[name], atol=1e-4)


def test_resize_beyond_memory_is_rejected_before_tracking(toy, videos, tmp_path):
    done = toy(videos, "--resize", 100_000, 100_000)
    assert done.code == 1
    assert "resize: expected frames of at most 89478485 pixels, got 100000x75000 from 64x48" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("record", [{"short_sides": ["x"]}, {"unknown": 1}, {"max_long_side": -4}])
def test_invalid_resize_in_a_checkpoint(toy, videos, checkpoint, tmp_path, record):
    content = torch.load(checkpoint, weights_only=True)
    content["tracker"]["resize"] = record
    torch.save(content, tmp_path / "bad.ckpt")
    done = toy(videos / "synthetic-train-4-0", checkpoint=tmp_path / "bad.ckpt")
    assert done.code == 1
    assert re.search(r"bad\.ckpt: its record of resize is invalid \(.*\); pass --resize$", done.err.strip())


def test_resize_is_kept_in_later_checkpoints(checkpoint):
    tracker = Toy.from_checkpoint(checkpoint)
    assert images.choose_resize(None, tracker.resize, checkpoint) == RESIZE
    content = {}
    tracker.on_save_checkpoint(content)
    assert content["tracker"]["resize"] == tracker.resize


def test_checkpoint_without_resize(toy, videos, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    del content["tracker"]["resize"]
    torch.save(content, tmp_path / "old.ckpt")
    done = toy(videos / "synthetic-train-4-0", checkpoint=tmp_path / "old.ckpt")
    assert done.code == 0
    assert "does not state how frames were resized; they keep their size" in done.err
    expected = predicted(checkpoint, videos, None)["synthetic-train-4-0"]
    np.testing.assert_allclose(table(tmp_path / "out" / "synthetic-train-4-0.txt"), expected, atol=1e-4)


def test_tracking_parameters_are_flags(toy, videos, tmp_path):
    done = toy(videos, "--help")
    assert "--shift FLOAT" in done.out
    assert "Offset added to the scores" in done.out
    assert "--width" not in done.out
    assert "--preset NAME" not in done.out
    assert toy(videos / "synthetic-train-4-0").code == 0
    before = table(tmp_path / "out" / "synthetic-train-4-0.txt")
    (tmp_path / "toy.yaml").write_text("shift: 0.5\n")
    assert toy(videos / "synthetic-train-4-0", "--config", tmp_path / "toy.yaml").code == 0
    after = table(tmp_path / "out" / "synthetic-train-4-0.txt")
    np.testing.assert_allclose(after[:, :6], before[:, :6])
    np.testing.assert_allclose(after[:, 6], before[:, 6] + 0.5, atol=1e-5)
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert record["given"] == {"shift": 0.5}
    assert record["parameters"]["shift"] == 0.5


def test_windows_read_only_their_own_images(toy, videos, tmp_path):
    folder = shutil.copytree(videos / "synthetic-train-4-0", tmp_path / "cut")
    for number in (1, 2, 7):
        (folder / "img1" / f"{number:06d}.png").unlink()
    done = toy(folder)
    assert done.code == 1
    assert "000001.png is missing (3 of 7 of cut)" in done.err
    assert toy(folder, "--frames", "3-6").code == 0
    assert table(tmp_path / "out" / "cut.txt")[:, 0].tolist() == [number for number in range(3, 7) for _ in range(3)]


def test_image_folder_in_numeric_order(toy, videos, checkpoint, tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number in range(1, 8):
        source = videos / "synthetic-train-4-1" / "img1" / f"{number:06d}.png"
        shutil.copy(source, folder / f"shot{number + 5}.png")  # shot10 must come after shot9
    (folder / "notes.txt").write_text("not an image")
    assert toy(folder, "--video", "--plot").code == 0
    expected = predicted(checkpoint, videos)["synthetic-train-4-1"] + [5, 0, 0, 0, 0, 0, 0]  # numbers as in the names
    np.testing.assert_allclose(table(tmp_path / "out" / "holiday.txt"), expected, atol=1e-4)
    with av.open(str(tmp_path / "out" / "holiday.mp4")) as video:
        assert video.streams.video[0].frames == 7
    with Image.open(tmp_path / "out" / "holiday.png") as sheet:
        assert np.asarray(sheet.convert("RGB").resize((60, 30))).std() > 30  # the frames rather than an empty canvas


def test_image_folder_with_gaps(toy, videos, tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number, name in enumerate(("1", "2", "900000"), 1):
        shutil.copy(videos / "synthetic-train-4-1" / "img1" / f"{number:06d}.png", folder / f"{name}.png")
    done = toy(folder, "--video")
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert "holiday: 899997 of the frames 1-900000 have no image, the first is 3; they are left out" in done.err
    assert np.unique(table(tmp_path / "out" / "holiday.txt")[:, 0]).tolist() == [1, 2, 900_000]
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert record["sequences"]["holiday"]["frames"] == "1-900000"
    with av.open(str(tmp_path / "out" / "holiday.mp4")) as video:
        assert video.streams.video[0].frames == 3


def test_kitti_frame_numbers_and_classes(toy, videos, tmp_path):
    root = tmp_path / "training"
    (root / "label_02").mkdir(parents=True)
    (root / "label_02" / "0003.txt").write_text("")
    (root / "image_02" / "0003").mkdir(parents=True)
    for number in range(7):
        source = videos / "synthetic-train-4-1" / "img1" / f"{number + 1:06d}.png"
        shutil.copy(source, root / "image_02" / "0003" / f"{number:06d}.png")
    two = DetectorSettings(**{**SMALL.__dict__, "num_classes": 2})
    torch.manual_seed(1)
    path = save(tmp_path / "two.ckpt", Toy(two, width=8), None, videos)
    assert toy(root, checkpoint=path).code == 0
    results = read_kitti(tmp_path / "out" / "0003.txt", kind="results")
    assert (results.frames[0], results.frames[-1]) == (0, 6)
    assert set(results.classes.tolist()) == {0, 3}  # Car and Pedestrian, the scored classes


def test_interruption_keeps_finished_sequences(toy, videos, tmp_path, monkeypatch):
    original = Toy.track_frame

    def interrupted(self, batch, ctx):
        if batch.sequences[0].endswith("1") and batch.times.item() == 4:
            raise KeyboardInterrupt
        return original(self, batch, ctx)

    monkeypatch.setattr(Toy, "track_frame", interrupted)
    done = toy(videos)
    assert done.code == 130
    assert "1 of 2 sequences are finished and kept" in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.yaml", "synthetic-train-4-0.txt"]


def broken_image(tmp_path, videos):
    folder = shutil.copytree(videos / "synthetic-train-4-0", tmp_path / "park")
    image = folder / "img1" / "000005.png"
    image.write_bytes(image.read_bytes()[:300])
    return folder, "000005.png cannot be decoded"


def text_as_video(tmp_path, videos):
    (tmp_path / "street.mp4").write_text("hello " * 100)
    return tmp_path / "street.mp4", "street.mp4: expected a readable video"


def cut_video(tmp_path, videos):
    pictures = [Image.open(name).convert("RGB") for name in sorted((videos / "synthetic-train-4-0/img1").iterdir())]
    path = write_video(tmp_path / "street.mp4", pictures, 12)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path, "street.mp4: expected a readable video"


def missing_source(tmp_path, videos):
    return tmp_path / "none", "there is no folder"


def empty_folder(tmp_path, videos):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty", "or pass a folder of images (.jpg, .jpeg, .png) or a video file"


def no_images(tmp_path, videos):
    folder = shutil.copytree(videos / "synthetic-train-4-0", tmp_path / "park")
    shutil.rmtree(folder / "img1")
    return folder, "park: expected images"


@pytest.mark.parametrize("damage", [broken_image, text_as_video, cut_video, missing_source, empty_folder, no_images])
def test_invalid_sources_are_reported_in_one_line(toy, videos, tmp_path, damage):
    source, words = damage(tmp_path, videos)
    done = toy(source)
    assert done.code == 1
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--shift", "2"], 1, "with {'shift': 2.0}: shift must be from 0 to 1, got 2.0"),
        (["--shift", "high"], 2, "--shift: expected a number, got 'high'"),
        (["--width", "3"], 2, "unrecognized arguments: --width"),
        (["--device", "tpu"], 2, "--device: invalid choice: 'tpu'"),
        (["--resize", "0", "100"], 1, "expected sides of at least 1 pixel"),
        (["--frames", "3-9"], 1, "frames 3-9 are not a part of synthetic-train-4-0, which has 1-7"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(toy, videos, arguments, code, words):
    done = toy(videos, *arguments)
    assert done.code == code
    assert words in done.err
    assert done.err.count("\n") == 1


def test_invalid_checkpoints(toy, videos, checkpoint, tmp_path):
    done = toy(videos, checkpoint=None)
    assert done.code == 2
    assert "the following arguments are required: --checkpoint" in done.err
    done = toy(videos, checkpoint=tmp_path / "none.ckpt")
    assert done.code == 1
    assert "none.ckpt does not exist" in done.err
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    done = toy(videos, checkpoint=tmp_path / "other.pth")
    assert done.code == 1
    assert "other.pth: expected a checkpoint of a mot-core tracker" in done.err
    (tmp_path / "text.ckpt").write_text("hello")
    assert "expected a checkpoint written by PyTorch" in toy(videos, checkpoint=tmp_path / "text.ckpt").err


def test_cuda_without_a_gpu_is_rejected(toy, videos, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = toy(videos, "--device", "cuda")
    assert done.code == 1
    assert "--device: expected an available device, got cuda without a GPU; use cpu" in done.err


def test_ground_truth_is_not_overwritten(toy, videos, tmp_path, mot, checkpoint):
    folder = shutil.copytree(videos / "synthetic-train-4-0", tmp_path / "gt")  # its result would be gt/gt.txt
    done = mot("track", folder, "--tracker", "toy", "--checkpoint", checkpoint, "--output", folder / "gt")
    assert done.code == 1
    assert "an input of this sequence" in done.err
