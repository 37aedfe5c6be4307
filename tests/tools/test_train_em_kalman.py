"""Synthetic detections and training of the model that is part of em-kalman."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from em_kalman import EMKalmanTracker, Schedule, load_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("train_em_kalman", ROOT / "tools" / "train_em_kalman.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sequences(tool):
    return list(tool.make_sequences(1, seed=5))


def test_scenes_are_valid_and_repeatable(tool, sequences):
    assert [one.name.split()[0] for one in sequences] == ["street", "dance", "traffic"]
    for one, again in zip(sequences, tool.make_sequences(1, seed=5), strict=True):
        boxes, scores = one.table.boxes_xyxy, one.table.scores
        assert np.array_equal(boxes, again.table.boxes_xyxy)
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (scores < tool.MIN_SCORE).any()
        assert len(set(one.table.frames.tolist())) == len(one.frames) == tool.FRAMES


def test_ready_model_tracks_dancers(sequences):
    """About one identity per dancer, of at most 14; without motion and shape, boxes that jump would start new ones."""
    dance = sequences[1]
    tracker, ids, seen = EMKalmanTracker(), set(), 0
    for frame in dance.frames:
        rows = dance.table.frame(frame)
        tracks = tracker.update(dance.table.boxes_xyxy[rows], dance.table.scores[rows])
        ids |= set(tracks.ids.tolist())
        seen += len(tracks)
    people = seen / len(dance.frames)
    assert len(ids) < 4 * people


def test_training_writes_a_model(tool, tmp_path, monkeypatch, capsys):
    train = tool.train
    monkeypatch.setattr(tool, "train", lambda found, seed: train(found, seed, Schedule(2, 1, min_steps=0)))
    tool.main(["--scenes", "1", "--seed", "5", "--output", str(tmp_path / "model.pt")])
    model = load_model(tmp_path / "model.pt")
    assert model.weak_share.min() < 0.5 or model.weak_share.max() > 0.5
    assert "wrote" in capsys.readouterr().out
