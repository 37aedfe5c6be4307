"""Comparison of trackers on real sequences, here on synthetic ones in the same layout."""

import json
import shutil
from functools import partial

import pytest

from benchmarks.association_quality import compare, linking, page, sets, trackers
from em_kalman import Schedule, adapt
from mot_core.io import make_scene


@pytest.fixture
def data(tmp_path):
    for number in (2, 4):
        scene = make_scene(number, num_objects=8, num_frames=60)
        folder = scene.save(tmp_path / "MOT17" / "train", f"MOT17-0{number}-FRCNN")
        shutil.copy(folder / "det" / "det.txt", folder / "det" / "yolox.txt")
    return tmp_path


def test_sets_and_frames(data):
    assert sets.found_in(data) == ["MOT17 public", "MOT17 YOLOX"]
    every, third = (sets.videos(data, "MOT17 public", step) for step in (1, 3))
    assert [video.length for video in every] == [60, 60]
    assert [video.length for video in third] == [20, 20]
    assert [video.length for video in sets.videos(data, "MOT17 YOLOX", 1)] == [29, 29]
    whole, part = every[0].detections, third[0].detections
    assert part.boxes_xyxy[part.frame(2)].tolist() == whole.boxes_xyxy[whole.frame(4)].tolist()
    assert part.frames.max() == 20


def test_scores_that_are_no_probabilities_are_left_out(data, capsys):
    path = data / "MOT17" / "train" / "MOT17-02-FRCNN" / "det" / "det.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join([*row[:6], "7", *row[7:]]) + "\n" for row in rows))
    assert [video.sequence.name for video in sets.videos(data, "MOT17 public", 1)] == ["MOT17-04-FRCNN"]
    assert "MOT17-02-FRCNN is left out" in capsys.readouterr().out


def test_perfect_boxes_and_strong_detections(data):
    (video, _) = sets.videos(data, "MOT17 public", 1)
    strong = list(video.frames(0.6))
    assert len(strong) == 60
    assert min(one.scores.min() for one in strong if len(one)) >= 0.6
    scores = sets.score(lambda each: trackers.run_ours(trackers.OURS["SORT"], each), data, "MOT17 public", 1)
    assert 40 < scores["IDF1"] < 100


def test_runs_are_completed_and_the_page_is_written(data, tmp_path, monkeypatch, capsys):
    short = Schedule(warmup_epochs=1, epochs=1, min_steps=0)
    monkeypatch.setattr(trackers, "adapt", partial(adapt, schedule=short))
    monkeypatch.setattr(compare, "RATES", {1: "every frame", 3: "one in 3"})
    results, written = tmp_path / "results.jsonl", tmp_path / "page.md"
    command = ["--data", str(data), "--results", str(results), "--page", str(written), "--seeds", "1", "--peers"]
    compare.main([*command, "--sets", "MOT17 public"])
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(lines) == 2 * (len(trackers.OURS) + 1)
    kept = lines[:3]
    results.write_text("".join(json.dumps(line) + "\n" for line in kept))
    compare.main([*command, "--sets", "MOT17 public"])
    again = [json.loads(line) for line in results.read_text().splitlines()]
    assert again[:3] == kept
    times = "date", "training_cpu_seconds"
    assert [{k: v for k, v in line.items() if k not in times} for line in again] == [
        {k: v for k, v in line.items() if k not in times} for line in lines
    ]
    text = written.read_text()
    assert "Of 2 combinations of data set and frame rate" in text
    assert "| em-kalman, adapted |" in text
    with pytest.raises(SystemExit, match="found none in"):
        compare.main(["--data", str(tmp_path / "MOT17"), "--peers"])


def line(tracker, idf1, package="mot-core", low=None, seed=0, name="KITTI", **more):
    scores = dict.fromkeys(sets.METRICS, idf1)
    key = {"package": package, "tracker": tracker, "min_score": low, "set": name, "step": 1, "seed": seed}
    return {**key, **scores, "date": "2026-01-02T", "commit": "c", "machine": {"cpu": "a", "system": "b"}, **more}


def test_tables_and_conclusion():
    lines = [
        line("SORT", 60.0),
        line("em-kalman, ready", 59.8),
        line("em-kalman, adapted", 61.0, seed=0, training_cpu_seconds=9.0),
        line("em-kalman, adapted", 63.0, seed=1, training_cpu_seconds=11.0, kept_ready=True),
        line("OC-SORT", 50.0, "roboflow"),
        line("OC-SORT", 58.0, "roboflow", 0.6),
        line("SORT", 70.0, name="MOT20"),
        line("em-kalman, ready", 65.0, name="MOT20"),
    ]
    text = page.render(lines, {"boxmot": "no wheel"})
    assert (
        "ready is first in 0, level with the first in 1, behind in 1 and em-kalman, adapted is first in 1"
        in (text["conclusion"])
    )
    assert "* **em-kalman, adapted, every frame**: first on KITTI (+2.0, SORT)." in text["conclusion"]
    assert "level with the first on KITTI (-0.2, SORT); behind on MOT20 (-5.0, SORT)" in text["conclusion"]
    assert "| roboflow trackers · OC-SORT | 58.0 | - |" in text["idf1"]
    assert "| em-kalman, adapted | **62.0 ± 1.4** | - |" in text["idf1"]
    assert "A training took 10.0 ± 1.4 seconds of one core. The ready model was likelier" in text["runs"]
    assert "than the trained one on: KITTI, every frame." in text["runs"]
    assert "BoxMOT could not be installed: `no wheel`. Not measured: Ultralytics." in text["runs"]


def test_peers_get_classes_apart(data, monkeypatch):
    """A stand-in for a worker, which names every box by its place in the frame."""

    class Worker:
        def run(self, job, tracker, stream, output):
            import numpy as np

            from benchmarks.association.streams import Stream

            given = Stream.load(stream)
            ids = np.concatenate([np.arange(count) for count in given.counts])
            np.savez(output, ids=ids, boxes=given.boxes, counts=given.counts)

    monkeypatch.setattr(trackers, "_worker", lambda package: Worker())
    (video, _) = sets.videos(data, "MOT17 public", 1)
    frames = trackers.run_peer("roboflow", "SORT", float("-inf"), video)
    given = list(video.frames())
    assert [len(one) for one in frames] == [len(one) for one in given]
    assert frames[5].boxes_xyxy == pytest.approx(given[5].boxes_xyxy, abs=1e-3)
    assert frames[5].ids.tolist() == list(range(len(given[5])))


def test_linking_is_completed_and_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr(linking, "STEPS", (1,))
    results, written = tmp_path / "linking.jsonl", tmp_path / "page.md"
    written.write_text("<!-- linking: begin -->\n<!-- linking: end -->\n")
    command = ["--data", str(data), "--results", str(results), "--page", str(written), "--sets", "MOT17 public"]
    linking.main(command)
    linking.main(command)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["tracker"] for line in lines] == ["em-kalman, ready", "ByteTrack"]
    plain = sets.score(lambda each: trackers.run_ours(trackers.OURS["ByteTrack"], each), data, "MOT17 public", 1)
    assert lines[1]["0"] == {"joined": 0, **plain}
    for one in lines:
        assert 0 <= one["30"]["joined"] <= one["60"]["joined"] + 2
        assert all(one[gap]["MOTA"] >= one["0"]["MOTA"] for gap in ("30", "60"))  # boxes stay, switches can vanish
    assert "| MOT17 public, every frame | ByteTrack |" in written.read_text()


def test_table_of_linking():
    def scores(idf1, joined):
        return {"IDF1": idf1, "HOTA": 50.0, "joined": joined}

    lines = [
        {
            "tracker": "ByteTrack",
            "step": 1,
            "set": name,
            "0": scores(60.0, 0),
            "30": scores(60.0 + more, 3),
            "60": scores(59.0, 4),
        }
        for name, more in (("KITTI", 0.5), ("MOT15", 0.2))
    ]
    rows = linking.render(lines).splitlines()[2:]
    assert rows == [
        "| MOT15, every frame | ByteTrack | 60.0 | 50.0 | +0.2 | +0.0 | 3 | -1.0 | +0.0 | 4 |",
        "| KITTI, every frame | ByteTrack | 60.0 | 50.0 | +0.5 | +0.0 | 3 | -1.0 | +0.0 | 4 |",
        "| mean of 2 | ByteTrack | 60.0 | 50.0 | +0.35 | +0.00 | 3.0 | -1.00 | +0.00 | 4.0 |",
    ]
