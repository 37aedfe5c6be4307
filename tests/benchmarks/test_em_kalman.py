import json

import numpy as np
import pytest

from benchmarks.em_kalman import cost as em_kalman_cost
from benchmarks.em_kalman import data as em_kalman_data
from benchmarks.em_kalman import motion as em_kalman_motion
from benchmarks.em_kalman import tables as em_kalman_tables
from benchmarks.em_kalman import trackers as em_kalman_trackers
from mot_core.io import make_scene

METRICS = {"HOTA": 50.0, "AssA": 40.0, "IDF1": 60.0, "MOTA": 55.0, "IDSW": 12.0}


@pytest.fixture
def data(tmp_path):
    """Two datasets with one synthetic scene each."""
    for seed, folder in enumerate(("MOT17/train", "MOT15/train")):
        make_scene(seed, num_objects=5, num_frames=60).save(tmp_path / folder, f"scene{seed}")
    return tmp_path


@pytest.fixture
def small(monkeypatch):
    """Replace the datasets of the benchmark by the two synthetic ones."""
    kinds = {"MOT17 public": ("MOT17/train", "det"), "MOT15": ("MOT15/train", "det")}
    found = {name: em_kalman_data.Source(*kind, benchmark="generic") for name, kind in kinds.items()}
    for module in (em_kalman_trackers, em_kalman_tables, em_kalman_motion):
        monkeypatch.setattr(module, "SOURCES", found)
    monkeypatch.setattr(em_kalman_trackers, "SEEDS", (0,))
    for name in ("CONFIGS",):
        kept = {key: em_kalman_trackers.CONFIGS[key] for key in (em_kalman_trackers.AS_IT_IS, "published")}
        monkeypatch.setattr(em_kalman_trackers, name, kept)
    short = em_kalman_trackers.Schedule(warmup_epochs=2, epochs=1, min_steps=0, collapse_above=1.0)
    monkeypatch.setattr(em_kalman_trackers, "Schedule", lambda **_: short)


def test_motion_noise_benchmark(data, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(em_kalman_motion, "TESTED", ("MOT15",))
    monkeypatch.setattr(em_kalman_motion, "PARTNER", {"MOT15": "MOT17 public"})
    results = tmp_path / "motion.json"
    em_kalman_motion.main(["--data", str(data), "--results", str(results), "--seeds", "0"])
    (run,) = json.loads(results.read_text())["runs"]
    assert set(run["loglik"]) == {"MOT17 public", "MOT15"}
    assert all(0 < value <= 100 for row in run["IDF1"]["MOT15"].values() for value in row.values())
    printed = capsys.readouterr().out
    assert f"| MOT15 | SORT | {run['IDF1']['MOT15']['SORT']['by hand']:.1f} |" in printed


def test_resuming_and_rendering(data, small, tmp_path, monkeypatch):
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    command = ["--data", str(data), "--results", str(results)]
    em_kalman_trackers.main([*command, "--seconds", "0"])
    em_kalman_trackers.main(command)
    before = results.read_text()
    em_kalman_trackers.main(command)
    assert results.read_text() == before
    lines = [json.loads(line) for line in before.splitlines()]
    assert [line["name"] for line in lines[:5]] == ["IoU", "SORT", "ByteTrack", "OC-SORT", "as it is"]
    assert [(line["name"], line["train"]) for line in lines[5:]] == [
        ("as it is", "MOT15"),
        ("published", "MOT17 public"),
    ]
    assert set(lines[4]["test"]) == {"MOT17 public, every frame", *(f"MOT15, {rate}" for rate in em_kalman_data.RATES)}
    names = em_kalman_tables.render(lines)
    page.write_text("".join(f"<!-- {name}: begin -->\nold\n<!-- {name}: end -->\nwords\n" for name in names))
    monkeypatch.setattr(em_kalman_trackers, "refresh", lambda path: em_kalman_tables.refresh(path, page))
    em_kalman_trackers.main(["--table", "--results", str(results)])
    text = page.read_text()
    assert "| SORT | " in text
    assert "| em-kalman, from MOT17 public | " in text
    assert text.count("words") == len(names)
    assert "old" not in text


def line(name, train, seed, idf1, collapsed=False):
    tests = {} if collapsed else {
        f"{test}, {rate}": METRICS | {"IDF1": idf1} for test in em_kalman_data.SOURCES for rate in em_kalman_data.RATES
    }  # fmt: skip
    about = {"date": "2026-11-21T10:00:00", "commit": "abc1234", "machine": {"cpu": "A CPU", "system": "Linux"}}
    return {**about, "name": name, "train": train, "seed": seed, "collapsed": collapsed, "test": tests,
            "training": {"most_unexplained": 0.06}, "train_cpu_seconds": 10.0 + seed}  # fmt: skip


def test_rendered_tables():
    lines = [line("SORT", "", 0, 50.0), *(line("as it is", "MOT17 public", seed, 60.0 + seed) for seed in (0, 1))]
    lines += [line("one stage", "MOT17 public", 0, 40.0), line("one stage", "MOT17 public", 1, 0.0, collapsed=True)]
    tables = em_kalman_tables.render(lines)
    assert "| SORT | 50.0 | 40.0 | 50.0 | 55.0 | 12.0 | 50.0 |" in tables["trackers"]
    assert "| em-kalman, from MOT17 public | 50.0 ± 0.0 | 40.0 ± 0.0 | 60.5 ± 0.7 |" in tables["trackers"]
    assert "| from MOT17 public | 60.5 ± 0.7 | 60.5 ± 0.7 |" in tables["generalisation"]
    assert "| from MOT15 | - |" in tables["generalisation"]
    assert "| one stage | 2 | 1 | 40.0 | 40.0 |" in tables["ablation"]
    assert "2 trainings, 0 of them collapsed" in tables["runs"]
    assert "never above 6 %" in tables["runs"]


def test_page_has_the_results():
    text = em_kalman_tables.PAGE.read_text(encoding="utf-8")
    for table in em_kalman_tables.render(em_kalman_tables.read(em_kalman_trackers.RESULTS)).values():
        assert table in text, "python -m benchmarks.em_kalman.trackers --table"


def test_frame_steps_of_rates():
    assert [em_kalman_data.step_of(rate) for rate in em_kalman_data.RATES] == [1, 3, 5, 3, 5]


def test_plain_iou_has_no_motion_model():
    tracker = em_kalman_data.PlainIoU(score_threshold=0.0, min_hits=0)
    for x in (0.0, 5.0, 10.0):
        tracks = tracker.update(np.array([[x, 0, x + 40, 80]]), np.array([0.9]))
        np.testing.assert_allclose(tracks.boxes_xyxy, [[x, 0, x + 40, 80]])
    assert len(tracker.update(np.zeros((0, 4)), np.zeros(0))) == 0
    # Matched at its last position rather than at a predicted one.
    assert tracker.update(np.array([[10.0, 0, 50, 80]]), np.array([0.9])).ids.tolist() == [1]


def test_cost_benchmark():
    row = em_kalman_cost.compared_with_filterpy(3, 4)
    assert row["largest_difference"] < 1e-9
    assert row["factor"] > 0
    assert em_kalman_cost.windows(3, 4)["windows_per_second"] > 0
    for kind in em_kalman_cost.GROWTH:
        assert em_kalman_cost.growth(kind, 3, 4)["ms"] > 0
