"""The association transformer of the examples and its benchmark, in a small size on synthetic scenes."""

import importlib
import json
import runpy
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDERS = ROOT / "examples", ROOT / "benchmarks"
MODULES = "model", "recording", "scoring", "train", "videos"


@pytest.fixture(scope="module")
def example():
    """Import the modules of the example, and unload them, because the benchmark has the same name."""
    before = list(sys.path)
    sys.path[:0] = [str(folder) for folder in FOLDERS]
    parts = {
        name: importlib.import_module(f"unitrack_association.{module}")
        for name, module in [*((one, one) for one in MODULES), ("command", "__main__")]
    }
    yield SimpleNamespace(**parts)
    sys.path[:] = before
    for name in [one for one in sys.modules if one.split(".")[0] == "unitrack_association"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def scenes(example):
    return example.videos.synthetic(range(2), (3,), 60)


@pytest.fixture(scope="module")
def recordings(example, scenes):
    return [example.recording.record(video) for video in scenes]


def test_every_third_frame_of_the_scenes(scenes):
    assert [len(video.frames) for video in scenes] == [20, 20]
    assert sorted(set(scenes[0].ground_truth.frames)) == list(range(1, 21))
    identity = np.concatenate([frame.identity for frame in scenes[0].frames])
    assert 0.8 < (identity >= 0).mean() < 1


def test_recordings_of_an_error_free_tracker(example, scenes, recordings):
    for video, recording in zip(scenes, recordings, strict=True):
        assert recording.steps[0] is None
        for (before, after), step in zip(pairwise(video.frames), recording.steps[1:], strict=True):
            count = len(before.scores)
            same = before.identity[:, None] == np.append(after.identity, -2)
            same &= (before.identity >= 0)[:, None]
            assert np.array_equal(same.any(1), step.target[:count] < len(after.scores))
            followed = np.flatnonzero(same.any(1))
            assert np.array_equal(same.argmax(1)[followed], step.target[followed])
            assert len(step.row_features) == len(step.row_boxes_xyxy) == len(step.target) >= count
    assert any((step.row_features[:, 5] > np.log(2.5)).any() for step in recording.steps[1:]), (
        "lost tracks are included"
    )


def test_recorded_features_match_those_in_tracking(example, scenes, recordings):
    """The learned cost receives the recorded features, as checked by a network that stores its input."""
    video, recording = scenes[0], recordings[0]
    oracle = example.recording.Oracle(video)
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, rows, columns, row_valid, column_valid):
            seen.append((rows[0].numpy(), columns[0].numpy()))
            return torch.zeros(1, rows.shape[1], columns.shape[1]), None

    spy = example.model.LearnedCost(Spy(), video.image_size, "sigmoid")

    def cost(tracks, detections):
        assert spy(tracks, detections).tolist() == np.full((len(tracks.ids), len(detections.index)), 0.5).tolist()
        return oracle(tracks, detections)

    tracker = example.scoring.ByteTrack(cost=cost)
    for oracle.now, frame in enumerate(video.frames):
        tracker.update(frame.boxes_xyxy, frame.scores)
    steps = [step for step in recording.steps if step is not None]
    assert len(seen) == len(steps) == 19
    for (rows, columns), step in zip(seen, steps, strict=True):
        recorded = {tuple(row) for row in step.row_features.round(4).tolist()}
        assert {tuple(row) for row in rows.round(4).tolist()} <= recorded
        assert len(columns) == len(step.column_features)


def test_padding_does_not_change_the_logits(example, recordings):
    torch.manual_seed(0)
    network = example.model.AssociationTransformer().eval()
    batch = example.train.Batch([(recordings[0], 0), (recordings[1], 5)], 4)
    with torch.no_grad():
        logits, _ = network(batch.rows, batch.columns, batch.row_valid, batch.column_valid)
        step = recordings[1].steps[8]
        rows, columns = torch.from_numpy(step.row_features)[None], torch.from_numpy(step.column_features)[None]
        alone, _ = network(rows, columns, torch.ones(rows.shape[:2]).bool(), torch.ones(columns.shape[:2]).bool())
    torch.testing.assert_close(logits[5, : rows.shape[1], : columns.shape[1]], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [False, True])
def test_cross_entropy_matches_loops(example, recordings, columns):
    batch = example.train.Batch([(recordings[0], 2), (recordings[1], 9)], 5)
    logits = torch.randn(len(batch.rows), batch.rows.shape[1], batch.columns.shape[1], dtype=torch.float64)
    over_rows, over_columns = [], []
    for one in range(len(logits)):
        count, size = int(batch.row_valid[one].sum()), int(batch.column_valid[one].sum())
        target = batch.target[one, :count].tolist()
        for row in range(count):
            options = [*logits[one, row, :size].tolist(), 0.0]
            over_rows.append(np.log(np.exp(options).sum()) - options[min(target[row], size)])
        for column in range(size):
            options = [*logits[one, :count, column].tolist(), 0.0]
            over_columns.append(
                np.log(np.exp(options).sum()) - options[target.index(column) if column in target else count]
            )
    expected = (np.mean(over_rows) + np.mean(over_columns)) / 2 if columns else np.mean(over_rows)
    assert example.train.cross_entropy(logits, batch, columns).item() == pytest.approx(expected)


def test_clip_contains_detections_and_logits(example, recordings):
    batch = example.train.Batch([(recordings[0], 3), (recordings[1], 0)], 6)
    logits = torch.randn(len(batch.rows), batch.rows.shape[1], batch.columns.shape[1])
    clip = batch.clip(logits, torch.zeros(len(logits), logits.shape[1] + logits.shape[2], 4), "logits").validate()
    for which, (recording, start) in enumerate([(recordings[0], 3), (recordings[1], 0)]):
        for time in range(6):
            frame = recording.video.frames[start + time]
            count = len(frame.scores)
            assert clip.valid[which, time].sum() == count
            assert clip.det_gt[which, time, :count].tolist() == frame.identity.tolist()
            if time < 5:
                after = len(recording.video.frames[start + time + 1].scores)
                part = clip.assoc_logits[which, time, :count, :after]
                assert torch.equal(part, logits[which * 5 + time, :count, :after])


@pytest.mark.parametrize("flow", ["logits", "embedding", "boxes"])
def test_gradient_depends_on_the_form_of_the_flow(example, recordings, flow):
    config = example.train.Config(weight=1.0, warm_up=1, flow=flow, steps=3, clips=2, frames=4)
    trained, log = example.train.train(recordings, config, 0)
    plain, _ = example.train.train(recordings, replace(config, weight=0.0), 0)
    differs = any(not torch.equal(a, b) for a, b in zip(trained.parameters(), plain.parameters(), strict=True))
    assert differs == (flow != "boxes")  # given boxes have no gradient
    assert log["num_edges"] > 0


def test_training_improves_association(example, recordings):
    config = example.train.Config(weight=0.1, steps=60, clips=2, warm_up=10)
    network, log = example.train.train(recordings, config, 0)
    assert log["id_accuracy"] > 0.8  # 0 before training
    use, quality = example.scoring.choose([recordings[0].video], network)
    result = example.scoring.score([recordings[0].video], network, use)
    assert (result["mean/3"]["HOTA"] + result["mean/3"]["IDF1"]) / 2 == quality > 25


@pytest.mark.slow
def test_example_script(example, capsys):
    example.command.main(["--steps", "5", "--frames", "45"])
    shown = capsys.readouterr().out
    assert "with UniTrack" in shown
    assert "generic/5" in shown


def test_benchmark_resumes(example, tmp_path, monkeypatch, capsys):
    bench = runpy.run_path(str(FOLDERS[1] / "unitrack" / "association.py"))
    own = bench["main"].__globals__
    tiny = example.train.Config(weight=0.1, steps=2, clips=1, frames=4)
    monkeypatch.setitem(own, "MAIN", {"UniTrack": tiny})
    monkeypatch.setitem(own, "ABLATION", {"window 2": replace(tiny, settings={"window": 2})})
    monkeypatch.setitem(own, "SEEDS", (0, 1))
    monkeypatch.setitem(own, "load", lambda data, split, strides, most: example.videos.synthetic(range(1), (3,), 45))
    results = tmp_path / "results.jsonl"
    arguments = ["--data", str(tmp_path), "--results", str(results)]
    own["main"](arguments)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    forms = ["sigmoid", "softmax"]
    expected = [("UniTrack", seed, form) for seed in (0, 1) for form in ("chosen on validation", *forms)]
    expected += [("window 2", seed, form) for seed in (0, 1) for form in forms]
    assert [(line["name"], line["seed"], line["form"]) for line in lines[1:]] == expected
    assert lines[0]["name"] == "IoU (ByteTrack)"
    assert set(lines[1]["test"]["generic/3"]) == {"HOTA", "AssA", "IDF1", "MOTA", "IDSW"}
    chosen, same = lines[1], next(line for line in lines[2:] if line["form"] == lines[1]["use"]["form"])
    assert chosen["use"] != same["use"] or chosen["test"] == same["test"]
    assert "| window 2 | 2 |" in capsys.readouterr().out
    results.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    own["main"](arguments)
    again = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(again) == len(lines)
    assert again[-1]["test"] == lines[-1]["test"]  # equal seeds give equal networks
