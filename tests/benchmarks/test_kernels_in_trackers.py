"""Benchmark of kernels in trackers: measurement, and detection of differences."""

import json
from contextlib import nullcontext
from inspect import signature

import pytest
import torch

from benchmarks.kernels import in_trackers as benchmark

SMALL = {"size": (96, 160), "objects": 3, "warm_up": 0, "steps": 1}


def test_training_step():
    turns = benchmark.measure("motr", frames=2, **SMALL)
    about, found = next(turns)
    assert about["unrest"] == 0
    points = [value for name, value in found.items() if "sampling_offsets" in name or "attention_weights" in name]
    assert min(point.norm() for point in points) > 0  # would be 0 with initial weights in all but the last layer
    assert min(next(turns).values()) > 0


def test_number_of_tracks():
    turns = benchmark.measure("motip", frames=1, tracks=5, **SMALL)
    about, found = next(turns)
    assert about["unrest"] == 0  # the second run starts a new stream
    assert found["ids in frame 0"].tolist() == [0, 1, 2, 3, 4]
    assert found["boxes_xyxy in frame 2"].shape == (5, 4)
    assert next(turns)["ms"] > 0


@pytest.mark.parametrize("plan", (benchmark.CASES | benchmark.PAPERS).values())
def test_arguments_of_cases(plan):
    signature(benchmark.measure).bind(**plan)


NUMBERS = {"weights": torch.ones(2), "gradient of a": torch.ones(4), "gradient of b": torch.full((4,), 1e-5)}


@pytest.mark.parametrize(
    ("change", "worst", "error"),
    [
        ({}, "weights", 0.0),
        ({"gradient of a": torch.full((4,), 1.5)}, "gradient of a", 0.5),
        ({"gradient of b": torch.zeros(4)}, "gradient of b", 0.01),  # compared with a thousandth of the largest value
        ({"gradient of a": torch.full((4,), torch.nan)}, "gradient of a", float("inf")),
        ({"gradient of a": torch.ones(3)}, "gradient of a", float("inf")),
        ({"weights": torch.ones(2) + 1e-6}, "weights", float("inf")),
        ({"ids": torch.ones(1)}, "there or not: ids", float("inf")),
    ],
)
def test_differences_are_detected(change, worst, error):
    found = benchmark.difference(NUMBERS, NUMBERS | change)
    assert found == (worst, pytest.approx(error))


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.01, 1)])
def test_exit_code_reports_differences(factor, code, monkeypatch, tmp_path, capsys):
    class Side(nullcontext):  # replaces a process
        def __init__(self, case, environment, found):
            self.after = environment.get("MOT_CORE_KERNELS") != "reference"
            self.about, self.unrest = {"device": "none", "versions": {"torch": "2"}}, 0.0
            torch.save(NUMBERS | {"gradient of a": torch.full((4,), factor if self.after else 1.0)}, found)

        def __enter__(self):
            return self

        def answer(self):
            return {"ms": 4.0 if self.after else 8.0, "peak_MB": 7}

    monkeypatch.setattr(benchmark, "Side", Side)
    results = tmp_path / "results.jsonl"
    assert benchmark.main(["MOTR, training step, small", "--turns", "2", "--results", str(results)]) == code
    (row,) = map(json.loads, results.read_text().splitlines())
    assert row["before"] == {"what": "reference", "ms": [8.0, 8.0], "peak_MB": 7}
    assert row["times_as_fast"] == [2.0, 2.0, 2.0]
    assert "| MOTR, training step, small | 8.0 | 4.0 | 2.00 (2.00 to 2.00) | 7, 7 |" in capsys.readouterr().out


@pytest.mark.slow
def test_error_of_a_process_is_reported(tmp_path):
    environment = benchmark.sides(None)["reference"]
    with pytest.raises(RuntimeError, match="KeyError: 'no such case'"):
        benchmark.Side("no such case", environment, tmp_path / "found")
