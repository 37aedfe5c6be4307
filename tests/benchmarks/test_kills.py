"""The kill campaign: faults are detected, and one command survives a kill."""

import random
from pathlib import Path

import pytest
import torch

from benchmarks.robustness.kills import COMMANDS, Command, campaign, equal, faults_after_kill, file_system
from mot_core.io import make_scene

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


def test_equality_is_exact():
    one = {"a": [torch.ones(2), 1, "x"], "b": (None, 0.5)}
    assert equal(one, {"a": [torch.ones(2), 1, "x"], "b": (None, 0.5)})
    for other in (
        {"a": [torch.ones(2) + 1e-7, 1, "x"], "b": (None, 0.5)},
        {"a": [torch.ones(2).double(), 1, "x"], "b": (None, 0.5)},
        {"a": [torch.ones(2), 1], "b": (None, 0.5)},
        {"a": [torch.ones(2), 1.0, "x"], "b": (None, 0.5)},
    ):
        assert not equal(one, other)


def test_incomplete_files_are_faults(tmp_path):
    clean, output = tmp_path / "clean", tmp_path / "killed"
    for folder in (clean, output):
        (folder / "version_0/checkpoints").mkdir(parents=True)
        (folder / "a.txt").write_text("1,2")
        torch.save({"epoch": 1}, folder / "version_0/checkpoints/last.ckpt")
    (output / ".a.txt.0123abcd.tmp").touch()
    said = "mot: epoch 0, step 3\nmot: epoch 1, step 6\nmot: epoch 2, step 9\n"
    assert faults_after_kill(output, clean, said) == []
    assert faults_after_kill(output, clean, said + "mot: epoch 3, step 12\n") == [
        "epoch 3 was reported, the checkpoint holds [1]"
    ]
    (output / "a.txt").write_text("1,")
    (output / "b.json").write_text("[1,")
    (output / "c.ckpt").touch()
    assert len(faults_after_kill(output, clean, said)) == 3


def test_tracking_survives_a_kill(tmp_path):
    make_scene(seed=0, num_objects=5, num_frames=60, image_size=(240, 320)).save(tmp_path / "data", "street")
    row = campaign(COMMANDS["track"], tmp_path, tmp_path, 1, random.Random(0))
    assert (row["kills"], row["failures"]) == (1, [])


def test_loss_is_reported(tmp_path):
    """A result that depends on the run differs from that without a kill."""
    make_scene(seed=0, num_objects=5, num_frames=60, image_size=(240, 320)).save(tmp_path / "data", "street")
    command = Command(COMMANDS["track"].arguments, lambda output: str(output))
    failures = campaign(command, tmp_path, tmp_path, 1, random.Random(0))["failures"]
    assert failures
    assert all(one.endswith("the result differs from that without a kill") for one in failures)


@pytest.mark.skipif(not Path("/proc/mounts").exists(), reason="needs /proc, as on Linux")
def test_file_system():
    assert file_system(Path("/proc")) == "proc"
