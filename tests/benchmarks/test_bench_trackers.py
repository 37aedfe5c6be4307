"""Benchmark of trackers, with a step of two frames."""

import pytest

from benchmarks.training import step_cost as trackers


@pytest.mark.parametrize("tracker", trackers.TRACKERS)
def test_measurement_of_a_step(tracker):
    row = trackers.measure(tracker, checkpointing=True, steps=1, frames=2, size=trackers.SMALL["size"], objects=3)
    assert row["cpu_s_per_step"] > 0
    assert row["peak_MB"] >= row["peak_before_MB"] > 0
    assert 0 < row["estimate_MB"] < row["peak_MB"]


def test_timeout_is_reported():
    assert trackers.in_a_process("motr, small", 0.01) == {"case": "motr, small", "failed": "not done after 0 s"}
