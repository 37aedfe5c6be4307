import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import paired


def line(variant, seed, **values):
    return {"variant": variant, "seed": seed, **values}


def getters(*names):
    return {name: lambda line, name=name: line[name] for name in names}


def written(results):
    return [json.loads(one) for one in results.read_text().splitlines()]


def double(seed):
    """Importable by other processes."""
    if seed == 13:
        raise ValueError("seed 13 fails")
    return {"value": 2 * seed}


def test_only_missing_runs_are_measured(tmp_path):
    results, ran = tmp_path / "lines.jsonl", []

    def measure(variant, seed):
        ran.append((variant, seed))
        return {"value": seed}

    results.write_text(json.dumps({"variant": "a", "seed": 0, "value": 7}) + "\n")
    keys = [{"variant": variant, "seed": seed} for seed in (0, 1) for variant in "ab"]
    lines = paired.complete(results, keys, measure, processes=1)
    assert ran == [("b", 0), ("a", 1), ("b", 1)]
    assert [(one["variant"], one["seed"], one["value"]) for one in lines] == [
        ("a", 0, 7),
        ("b", 0, 0),
        ("a", 1, 1),
        ("b", 1, 1),
    ]
    assert paired.complete(results, keys, measure, processes=1) == lines
    assert len(ran) == 3
    assert written(results)[1] == {"variant": "b", "seed": 0, "value": 0}


def test_key_without_a_value_in_the_line_does_not_match(tmp_path):
    results = tmp_path / "lines.jsonl"
    results.write_text(json.dumps({"seed": 0, "value": 7}) + "\n")
    (new,) = paired.complete(results, [{"seed": 0, "recipe": "new"}], lambda seed, recipe: {"value": 8}, processes=1)
    assert new["value"] == 8


def test_the_last_line_of_a_key_counts(tmp_path):
    results = tmp_path / "lines.jsonl"
    results.write_text("".join(json.dumps({"seed": 0, "value": value}) + "\n" for value in (1, 2)))
    assert paired.complete(results, [{"seed": 0}], double, processes=1)[0]["value"] == 2


def test_two_processes_keep_the_other_runs_when_one_fails(tmp_path, capsys):
    results, keys = tmp_path / "lines.jsonl", [{"seed": seed} for seed in (13, 2, 3)]
    with pytest.raises(ValueError, match="seed 13 fails"):
        paired.complete(results, keys, double, processes=2)
    assert sorted(one["value"] for one in written(results)) == [4, 6]
    assert [one["value"] for one in paired.complete(results, keys[1:], double, processes=2)] == [4, 6]


def test_interval_equals_the_paired_test_of_scipy():
    rng = np.random.default_rng(0)
    one, other = rng.normal(60, 3, 10), rng.normal(58, 3, 10)
    lines = [line("one", seed, HOTA=value) for seed, value in enumerate(one)]
    others = [line("other", seed, HOTA=value) for seed, value in enumerate(other)]
    found = paired.difference(lines[::-1], others, lambda line: line["HOTA"])
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((one - other).mean())
    assert found.deviation == pytest.approx((one - other).std(ddof=1))
    assert found.worst_seed == np.argmin(one - other)
    assert found.worst == pytest.approx((one - other).min())


def test_only_common_seeds_are_compared():
    lines = [line("a", seed, HOTA=float(seed)) for seed in (1, 2, 3)]
    others = [line("b", seed, HOTA=0.0) for seed in (3, 4)]
    found = paired.difference(lines, others, lambda line: line["HOTA"])
    assert (found.mean, found.seeds, found.worst_seed) == (3.0, 1, 3)
    assert math.isnan(found.low)
    assert not found.is_significant
    with pytest.raises(ValueError, match="at least one seed"):
        paired.difference(lines, others[1:], lambda line: line["HOTA"])


@pytest.mark.parametrize(("lower_is_better", "worst"), [(False, 1), (True, 2)])
def test_worst_seed_depends_on_the_metric(lower_is_better, worst):
    assert paired.summarize({1: 3.0, 2: 9.0, 3: 5.0}, lower_is_better=lower_is_better).worst_seed == worst


def test_table_of_values_and_differences():
    alone = [line("alone", seed, HOTA=60.0 + seed, IDSW=10 + seed) for seed in (0, 1, 2)]
    loss = [line("loss", seed, HOTA=64.0 + seed + 0.1 * seed, IDSW=10) for seed in (0, 1, 2)]
    text = paired.table("**MOTIP**", {"alone": alone, "loss": loss, "none": []}, getters("HOTA", "IDSW"))
    assert text.splitlines() == [
        "| **MOTIP** | seeds | HOTA | IDSW |",
        "| --- | ---: | ---: | ---: |",
        "| alone | 3 | 61.0 ± 1.0 (worst 60.0) | 11.0 ± 1.0 (worst 12.0) |",
        "| loss | 3 | 65.1 ± 1.1 (worst 64.0) | 10.0 ± 0.0 (worst 10.0) |",
        "| none | 0 |  |  |",
        "| *loss - alone* | 3 | **+4.1** (+3.9 to +4.3; worst +4.0, seed 0) "
        "| -1.0 (-3.5 to +1.5; worst +0.0, seed 0) |",
        "| *none - alone* | 0 |  |  |",
    ]
