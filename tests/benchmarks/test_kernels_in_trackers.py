"""Before and after the kernels: what is measured, and that a difference is seen."""

import json

import kernels_in_trackers as benchmark
import pytest
import torch

SMALL = {"size": (96, 160), "objects": 3, "warm_up": 0, "steps": 1}


def test_a_training_step():
    (row, found), (_, again) = (benchmark.measure("motr", frames=2, **SMALL) for _ in range(2))
    assert row["ms"] > 0
    assert row["peak_MB"] > 0
    assert benchmark.difference(found, again) == ("weights", 0.0)
    points = [value for name, value in found.items() if "sampling_offsets" in name or "attention_weights" in name]
    assert min(point.norm() for point in points) > 0  # with fresh weights all but the last layer's would be


def test_tracking_has_as_many_tracks_as_asked_for():
    _, found = benchmark.measure("motip", frames=1, tracks=5, **SMALL)
    assert found["ids in frame 0"].tolist() == [0, 1, 2, 3, 4]
    assert found["boxes_xyxy in frame 2"].shape == (5, 4)


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
    def run(case, environment, found):
        after = environment.get("MOT_CORE_KERNELS") != "reference"
        row = {"ms": 4.0 if after else 8.0, "peak_MB": 7, "device": "none", "versions": {"torch": "2"}}
        return row, NUMBERS | {"gradient of a": torch.full((4,), factor if after else 1.0)}

    monkeypatch.setattr(benchmark, "in_a_process", run)
    results = tmp_path / "results.jsonl"
    assert benchmark.main(["MOTR, training step, small", "--repeats", "2", "--results", str(results)]) == code
    (row,) = map(json.loads, results.read_text().splitlines())
    assert row["before"] == {"what": "reference", "ms": [8.0, 8.0], "peak_MB": 7}
    assert row["ratio"] == 2.0
    assert "| MOTR, training step, small | 8.0 | 4.0 | 2.00 | 7, 7 |" in capsys.readouterr().out
