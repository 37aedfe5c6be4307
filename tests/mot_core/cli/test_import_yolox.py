"""`mot import` of a released YOLOX, and tracking with the result."""

from pathlib import Path

import torch
import yaml

from _helpers.trackers.official_names import officially_yolox
from _helpers.trackers.tracker_cases import EAGER
from mot_core.data import SyntheticVideo
from mot_core.trackers import Tracker, YOLOXSettings


def test_released_weights_become_a_checkpoint(mot, tmp_path, monkeypatch):
    """`mot import` of a released detector of other classes, and `mot track` with the result."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    released = YOLOXSettings("micro", num_classes=2).build().state_dict()
    torch.save({"model": officially_yolox(released), "start_epoch": 3}, "released.pth")
    model = {"class_path": "YOLOXByteTrack", "init_args": {"detector": {"size": "micro", "embed_dim": 4}}}
    Path("small.yaml").write_text(yaml.safe_dump({"model": model}))
    done = mot("import", "released.pth", "ours.ckpt", "--config", "small.yaml", "--report", "keys.txt")
    assert done.code == 0, done.err
    report = Path("keys.txt").read_text()
    assert "re-made: detector.head.class_heads.0.weight" in report
    assert "missing: detector.head.embedding_branches.0.0.conv.weight" in report
    loaded = Tracker.from_checkpoint("ours.ckpt").detector.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in released.items() if "class_heads" not in name)
    SyntheticVideo(num_videos=1, num_frames=3, image_size=(48, 64)).save(tmp_path / "videos", 0)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in EAGER["yolox_bytetrack"].items()]
    done = mot(
        "track",
        "videos",
        "--output",
        "out",
        "--tracker",
        "yolox_bytetrack",
        "--checkpoint",
        "ours.ckpt",
        "--min-area",
        "0",
        *flags,
    )
    assert done.code == 0, done.err
    assert sum(len(path.read_text()) for path in Path("out").glob("*.txt")) > 0
    Path("large.yaml").write_text(yaml.safe_dump({"model": {"class_path": "YOLOXByteTrack", "init_args": {
        "detector": {"size": "tiny"}}}}))  # fmt: skip
    done = mot("import", "released.pth", "no.ckpt", "--config", "large.yaml")
    assert done.code == 1
    assert "the checkpoint is not a YOLOX of this architecture: " in done.err
