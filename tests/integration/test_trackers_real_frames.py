"""`mot fit` and `mot test` on real frames, for a few steps, with pictures of the tracks."""

import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from _helpers.trackers.tracker_cases import EAGER
from mot_core.association.registry import trainable_trackers
from mot_core.cli import main
from mot_core.io import read_mot

DETECTOR = {
    "backbone": "small", "num_queries": 20, "embed_dim": 32, "num_heads": 4, "ffn_dim": 32, "num_levels": 3,
    "num_encoder_layers": 1, "num_decoder_layers": 2,
}  # fmt: skip
SMALLER = {
    "motip": {"num_words": 30, "id_layers": 1, "groups": 1},
    "fairmot": {"detector": {"size": "micro", "norm": "group", "embed_dim": 8, "hidden": 16, "deformable": False}},
    "gtr": {
        "detector": {"size": "micro", "norm": "group", "channels": 16, "extra_levels": 0, "head_depth": 1},
        "association": {"embed_dim": 32, "pool_size": 3, "num_heads": 2},
    },
    "yolox_bytetrack": {"detector": {"size": "micro", "norm": "group"}},
}
SEQUENCES = [("MOT15/train/PETS09-S2L1", "MOT15"), ("flies/fly-clip", "generic")]
CASES = [(name, *SEQUENCES[index % 2]) for index, name in enumerate(trainable_trackers())]
FRAMES = 20


def excerpt(source, folder):
    """Link the first frames of a sequence, because results are written for complete sequences only."""
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for path in sorted((source / "img1").iterdir())[:FRAMES]:
        (folder / "img1" / path.name).symlink_to(path)
    rows = (source / "gt" / "gt.txt").read_text().splitlines(keepends=True)
    (folder / "gt" / "gt.txt").write_text("".join(row for row in rows if int(row.split(",")[0]) <= FRAMES))
    info = (source / "seqinfo.ini").read_text()
    (folder / "seqinfo.ini").write_text(re.sub(r"(?m)^seqLength.*", f"seqLength={FRAMES}", info))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("tracker", "folder", "benchmark"), CASES)
def test_fit_and_test_on_real_frames(mot_data, tmp_path, monkeypatch, capsys, tracker, folder, benchmark):
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # set by Lightning
        monkeypatch.setenv(name, "0")
    model = trainable_trackers()[tracker].__name__
    name = folder.split("/")[-1]
    path = str(excerpt(mot_data / folder, tmp_path / "data" / name))
    options = SMALLER.get(tracker, {}) | EAGER[tracker]
    config = {
        "model": {"class_path": model, "init_args": {"detector": DETECTOR} | options},
        "data": {
            "class_path": "MOTDataModule",
            "init_args": {
                "train": path, "val": path, "test": path, "benchmark": benchmark, "clip_length": 3, "max_interval": 5,
                "augmentation": {"short_sides": [96, 128], "max_long_side": 200, "flip": 0.5},
                "resize": {"short_sides": [96], "max_long_side": 200},
            },
        },
        "trainer": {
            "accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 4, "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "callbacks": [{"class_path": "TrackVideo", "init_args": {"kind": "sheet"}}],
        },
    }  # fmt: skip
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "real.yaml", "--output", "run"]) == 0, capsys.readouterr().err
    run = tmp_path / "run" / "version_0"
    (picture,) = (run / "tracks").iterdir()
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    assert picture.name == f"epoch-000-{name}.png"
    assert min(pixels.shape[:2]) > 90
    assert pixels.std() > 10, "the sheet shows frames"
    checkpoint = run / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 4
    code = main(["test", "--config", "real.yaml", "--ckpt_path", str(checkpoint), "--output", "out"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "HOTA" in printed.out
    table = read_mot(tmp_path / "out" / f"{name}.txt", kind="results")
    assert set(np.unique(table.frames)) <= set(range(1, FRAMES + 1))
    assert len(table) > FRAMES
    with Image.open(mot_data / folder / "img1" / "000001.jpg") as image:
        width, height = image.size
    near, far = table.boxes_xyxy[:, :2], table.boxes_xyxy[:, 2:]
    assert (far > 0).all()
    assert (near < [width, height]).all(), "boxes are in pixels of the files, not of the resized frames"
    assert ((near + far) / 2).max() > 200, "boxes are not scaled down"
