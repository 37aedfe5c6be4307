"""What the benchmark of the UniTrack loss measures, in tiny sizes."""

import sys

import pytest
import torch
import unitrack_cost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_the_peak_of_a_call_is_measured():
    assert 35 < unitrack_cost.added_megabytes(lambda: torch.ones(10_000_000).sum()) < 60
    assert unitrack_cost.added_megabytes(lambda: None) < 5


def test_the_loss_beside_the_loop():
    (row,) = unitrack_cost.measure_loops([(5, 3)])
    assert min(row["forward_s"], row["forward_backward_s"], row["loop_forward_s"]) > 0


def test_the_loss_gets_what_motr_finds(monkeypatch):
    plan = unitrack_cost.MOTR["small"] | {"steps": 1, "frames": 2, "objects": 3}
    monkeypatch.setitem(unitrack_cost.MOTR, "small", plan)
    row = unitrack_cost.measure_step("small", True)
    assert row["loss"]["detections"] >= 30
    assert min(row["loss"]["seconds"], row["seconds"]) > 0
    assert "loss" not in unitrack_cost.measure_step("small", False)
