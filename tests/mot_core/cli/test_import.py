"""`mot import`: conversion of released weights into checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from _helpers.trackers.official_names import officially
from mot_core.association.registry import trainable_trackers
from mot_core.trackers import MOTR, DetectorSettings, Tracker

SMALL = {
    "backbone": "small",
    "num_queries": 5,
    "embed_dim": 32,
    "ffn_dim": 32,
    "num_levels": 3,
    "num_encoder_layers": 1,
    "num_decoder_layers": 2,
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Released weights of a small detector of two classes, and a config of a tracker of one class."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    detector = MOTR(DetectorSettings(**{**SMALL, "num_classes": 2})).detector
    state = {name: tensor for name, tensor in officially(detector.state_dict()).items() if "update_attn" not in name}
    torch.save({"model": {**state, "extra": torch.zeros(1)}, "epoch": 3}, "released.pth")
    config = {
        "model": {"class_path": "MOTR", "init_args": {"detector": SMALL}},
        "data": {"class_path": "MOTDataModule", "init_args": {"resize": {"short_sides": [64]}}},
    }
    Path("small.yaml").write_text(yaml.safe_dump(config))
    return detector


def test_checkpoint_contains_weights_and_settings(mot, files):
    done = mot("import", "released.pth", "ours.ckpt", "--config", "small.yaml", "--report", "keys.txt")
    assert done.code == 0, done.err
    tracker = Tracker.from_checkpoint("ours.ckpt")
    assert isinstance(tracker, MOTR)
    assert tracker.arguments["detector"]["num_queries"] == 5
    assert tracker.resize == {"short_sides": [64]}
    for name, tensor in files.state_dict().items():
        if "class_heads" not in name and "track_attn" not in name:
            assert torch.equal(tensor, tracker.detector.state_dict()[name]), name
    assert "4 re-made" in done.out
    assert "re-made: detector.class_heads.0.weight ((2, 32) in the checkpoint, (1, 32) in the model)" in done.out
    assert "unused: extra (1)" in done.out
    report = Path("keys.txt").read_text()
    assert "unused: extra (no such key in the model)\n" in report
    assert "missing: query_interaction." in report


def test_imports_are_reproducible(mot, files):
    """Weights that the source lacks have the same initial values in every run."""
    for name in ("one.ckpt", "two.ckpt"):
        assert mot("import", "released.pth", name, "--config", "small.yaml").code == 0
        torch.rand(1)
    one, two = (torch.load(name, weights_only=True)["state_dict"] for name in ("one.ckpt", "two.ckpt"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_imported_checkpoint_works_with_lightning(mot, files):
    assert mot("import", "released.pth", "ours.ckpt", "--config", "small.yaml").code == 0
    data = ("--data", "SyntheticDataModule", "--data.num_val_videos", "1", "--data.num_frames", "2")
    done = mot("test", "--config", "small.yaml", "--ckpt_path", "ours.ckpt", "--trainer.accelerator", "cpu", *data)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no.pth", "a.ckpt", "--tracker", "motr"], 1, "checkpoint no.pth does not exist"),
        (["small.yaml", "a.ckpt", "--tracker", "motr"], 1, "small.yaml: expected a checkpoint written by PyTorch"),
        (
            ["released.pth", "a.ckpt", "--tracker", "sort"],
            1,
            f"expected a tracker with released weights ({', '.join(trainable_trackers())}), got sort",
        ),
        (["released.pth", "a.ckpt", "--tracker", "motr"], 1, "of this architecture: "),
        (
            ["released.pth", "a.ckpt", "--config", "no"],
            1,
            "config no: expected a YAML file or the name of a shipped one",
        ),
        (["released.pth", "a.ckpt", "--config", "wrong.yaml"], 1, "wrong.yaml: model: MOTR has no argument 'detectr'"),
        (["released.pth", "a.ckpt", "--config", "empty.yaml"], 1, "empty.yaml"),
        (["released.pth", "a.ckpt"], 2, "one of the arguments --tracker --config is required"),
    ],
)
def test_invalid_imports_are_reported_in_one_line(mot, files, arguments, code, words):
    Path("wrong.yaml").write_text(yaml.safe_dump({"model": {"class_path": "MOTR", "init_args": {"detectr": SMALL}}}))
    Path("empty.yaml").write_text("trainer: {max_epochs: 1}\n")
    done = mot("import", *arguments)
    assert words in done.err
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert not Path("a.ckpt").exists()
