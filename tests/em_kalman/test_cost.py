"""Learned association as the cost of ByteTrack and other trackers."""

import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import make_distance_model, make_scene, track
from em_kalman import EMKalmanCost, NeuralKalmanFilter, Schedule, WindowSampler, fit, read_detections, save_model
from mot_core.association import ByteTrack, DetectionBatch, OCSort, Sort, TrackBatch
from mot_core.io import find_sequences


def costs(cost, tracks, detections):
    ones = np.ones(len(tracks)), np.ones(len(detections))
    ints = [one.astype(np.int64) for one in ones]
    return cost(
        TrackBatch(ints[0], tracks, ones[0], ints[0], ones[0], ints[0]),
        DetectionBatch(detections, ones[1], ints[1], ints[1]),
    )


def boxes(*lefts):
    return np.array([[left, 0.0, left + 40, 100.0] for left in lefts]).reshape(-1, 4)


def test_cost_is_one_minus_probability():
    cost = EMKalmanCost(model=make_distance_model(-4.0))
    found = costs(cost, boxes(0, 500), boxes(2, 502, 250))
    assert found.shape == (2, 3)
    assert found[0, 0] == found[1, 1] < 0.3
    assert found[:, 2].min() > 0.99
    assert ((found >= 0) & (found <= 1)).all()
    # An isolated pair has a probability p with p / (1 - p) = exp((logit - dustbin) / 2).
    alone = costs(EMKalmanCost(model=make_distance_model(-4.0)), boxes(0), boxes(2))
    assert alone.item() == pytest.approx(1 / (1 + np.exp((-40 * 0.02 + 4) / 2)), abs=1e-3)
    assert costs(cost, boxes(), boxes(1)).shape == (0, 1)


@pytest.mark.parametrize("tracker", [ByteTrack, Sort, OCSort])
def test_cost_in_every_tracker(tracker, tmp_path):
    """Includes objects too fast to overlap from frame to frame."""
    save_model(make_distance_model(-20.0), tmp_path / "model.pt")
    built = tracker(cost=EMKalmanCost(tmp_path / "model.pt"))
    ids = [set(built.update(boxes(left, 900 - left), np.ones(2)).ids.tolist()) for left in range(0, 400, 41)]
    assert ids[-1] == ids[-2]
    assert len(set.union(*ids)) == 2


def test_fast_objects_are_tracked_better_than_by_overlap():
    """Speed with a standard deviation of 15 px: IDF1 of ByteTrack with IoU and with the learned cost."""
    torch.manual_seed(1)
    model = NeuralKalmanFilter()
    windows = WindowSampler([make_scene(seed, 15)[1] for seed in range(4)], stride=8)
    fit(model, windows, Schedule(min_steps=50), seed=1)
    test = [make_scene(100, 15)]
    options = {"max_age": 5}
    overlap = track(lambda: ByteTrack(**options), test)
    learned = track(lambda: ByteTrack(**options, cost=EMKalmanCost(model=model)), test)
    assert learned > overlap + 2  # 87 -> 91


@pytest.mark.slow
def test_real_detections(mot_data):
    """Trained on MOT17-02 without labels; IDF1 of ByteTrack with IoU and with the cost: 47 -> 51, 67 -> 70."""
    torch.manual_seed(0)
    model = NeuralKalmanFilter()
    found = read_detections(mot_data / "MOT17" / "train" / "MOT17-02-FRCNN")
    fit(model, WindowSampler(found, stride=15), Schedule(min_steps=40))
    for name in ("PETS09-S2L1", "ETH-Sunnyday"):
        (sequence,) = find_sequences(mot_data / "MOT15" / "train" / name)
        truth = sequence.ground_truth()
        scene = truth.select(sequence.rules.counted(truth)), read_detections(sequence.path, "sort")[0]
        overlap = track(ByteTrack, [scene])
        learned = track(lambda: ByteTrack(cost=EMKalmanCost(model=model)), [scene])
        assert learned > overlap + 1


def test_invalid_arguments():
    with pytest.raises(
        ValueError, match="EMKalmanCost: expected a trained model, got none; pass checkpoint=FILE or model"
    ):
        EMKalmanCost()
    with pytest.raises(ValueError, match="expected a dustbin and no embeddings"):
        EMKalmanCost(model=NeuralKalmanFilter(dustbin=False))
