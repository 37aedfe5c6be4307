"""Before and after the kernels: what is measured, and that a difference is seen."""

import json
from contextlib import nullcontext
from inspect import signature

import pytest
import torch

from benchmarks.kernels import in_trackers as benchmark

SMALL = {"size": (96, 160), "objects": 3, "warm_up": 0, "steps": 1}


def test_a_training_step():
    turns = benchmark.measure("motr", frames=2, **SMALL)
    about, found = next(turns)
    assert about["unrest"] == 0
    points = [value for name, value in found.items() if "sampling_offsets" in name or "attention_weights" in name]
    assert min(point.norm() for point in points) > 0  # with fresh weights all but the last layer's would be
    assert min(next(turns).values()) > 0


def test_tracking_has_as_many_tracks_as_asked_for():
    turns = benchmark.measure("motip", frames=1, tracks=5, **SMALL)
    about, found = next(turns)
    assert about["unrest"] == 0  # the second time with a new stream
    assert found["ids in frame 0"].tolist() == [0, 1, 2, 3, 4]
    assert found["boxes_xyxy in frame 2"].shape == (5, 4)
    assert next(turns)["ms"] > 0


@pytest.mark.parametrize("plan", (benchmark.CASES | benchmark.PAPERS).values())
def test_every_case_can_be_measured(plan):
    signature(benchmark.measure).bind(**plan)


NUMBERS = {"weights": torch.ones(2), "gradient of a": torch.ones(4), "gradient of b": torch.full((4,), 1e-5)}


@pytest.mark.parametrize(
    ("change", "worst", "error"),
    [
        ({}, "weights", 0.0),
        ({"gradient of a": torch.full((4,), 1.5)}, "gradient of a", 0.5),
        ({"gradient of b": torch.zeros(4)}, "gradient of b", 0.01),  # a thousandth of the largest counts
        ({"gradient of a": torch.full((4,), torch.nan)}, "gradient of a", float("inf")),
        ({"gradient of a": torch.ones(3)}, "gradient of a", float("inf")),
        ({"weights": torch.ones(2) + 1e-6}, "weights", float("inf")),
        ({"ids": torch.ones(1)}, "there or not: ids", float("inf")),
    ],
)
def test_a_difference_is_seen(change, worst, error):
    found = benchmark.difference(NUMBERS, NUMBERS | change)
    assert found == (worst, pytest.approx(error))


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.01, 1)])
def test_the_exit_code_tells_a_difference(factor, code, monkeypatch, tmp_path, capsys):
    class Side(nullcontext):  # instead of a process
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


def test_a_process_that_fails_says_why(tmp_path):
    environment = benchmark.sides(None)["reference"]
    with pytest.raises(RuntimeError, match="KeyError: 'no such case'"):
        benchmark.Side("no such case", environment, tmp_path / "found")
