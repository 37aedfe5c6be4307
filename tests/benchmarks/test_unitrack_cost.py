"""Cost benchmark of the UniTrack loss in small sizes."""

import sys

import pytest
import torch

from benchmarks.kernels import roofline
from benchmarks.unitrack import cost as unitrack_cost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_peak_memory_of_a_call():
    assert 35 < unitrack_cost.added_megabytes(lambda: torch.ones(10_000_000).sum()) < 60
    assert unitrack_cost.added_megabytes(lambda: None) < 5


def test_loss_compared_with_loops():
    (row,) = unitrack_cost.measure_loops([(5, 3)])
    assert min(row["forward_s"], row["forward_backward_s"], row["loop_forward_s"]) > 0


def test_loss_on_motr_outputs(monkeypatch):
    plan = unitrack_cost.MOTR["small"] | {"steps": 1, "frames": 2, "objects": 3}
    monkeypatch.setitem(unitrack_cost.MOTR, "small", plan)
    row = unitrack_cost.measure_step("small", True)
    assert row["loss"]["detections"] >= 30
    assert min(row["loss"]["seconds"], row["seconds"]) > 0
    assert "loss" not in unitrack_cost.measure_step("small", False)


def test_counts_of_launches_bytes_and_products():
    left, right = torch.ones(20, 50, requires_grad=True), torch.ones(50, 10)
    with roofline.Counting() as counting:
        (left.view(20, 50) @ right).sum().backward()
    work = counting.work
    names = [name for name, _, _ in work.operations]
    assert names == ["mm", "sum", "ones_like", "mm"]
    assert work.operations[0][1:] == (4 * (20 * 50 + 50 * 10 + 20 * 10), 2 * 20 * 50 * 10)
    assert work.seconds("H200") == pytest.approx(4 * roofline.LAUNCH_S)  # dominated by launches
    assert work.products().summary()["launches"] == 2


def test_profile_of_flow_loss_and_step(monkeypatch):
    plan = unitrack_cost.MOTR["small"] | {"steps": 1, "frames": 2, "objects": 3}
    monkeypatch.setitem(unitrack_cost.MOTR, "small", plan)
    row = unitrack_cost.measure_profile("small")
    for count in ("launches", "MB", "GFLOP"):
        assert row["flow"][count] <= row["loss"][count] <= row["step"][count]
    assert row["flow"]["launches"] > 20
