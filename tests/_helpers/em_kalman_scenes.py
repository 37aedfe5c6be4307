"""Scenes with misses and clutter, a hand-made model, and IDF1 from its definition."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from em_kalman import DetectionSequence, NeuralKalmanFilter
from mot_core.association.costs import overlap_matrix
from mot_core.io import BoxTable


def make_scene(seed, speed, frames=120, objects=8, size=(1080, 1920)):
    """Create objects that walk straight and turn back at the border, with 10% misses and 0.5 false boxes per frame."""
    rng = np.random.default_rng(seed)
    height = rng.uniform(60, 160, objects)
    half = np.stack([height * 0.2, height / 2], 1)
    place, step = rng.uniform(200, [1700, 880], (objects, 2)), speed * rng.standard_normal((objects, 2))
    truth, found = [], []
    for frame in range(1, frames + 1):
        boxes = np.concatenate([place - half, place + half], 1)
        truth.append((frame, np.arange(objects), boxes))
        noisy = boxes + 0.02 * height[:, None] * rng.standard_normal((objects, 4))
        noisy = noisy[rng.random(objects) > 0.1]
        for _ in range(rng.poisson(0.5)):
            corner, h = rng.uniform(0, [1800, 900]), rng.uniform(60, 160)
            noisy = np.concatenate([noisy, [[*corner, corner[0] + 0.4 * h, corner[1] + h]]])
        found.append((frame, np.full(len(noisy), -1), noisy[rng.permutation(len(noisy))]))
        place = place + step
        outside = (place < half) | (place > np.array(size[::-1]) - half)
        step = np.where(outside, -step, step)
    return table(truth), DetectionSequence(f"scene {seed}", table(found), range(1, frames + 1), size)


def make_distance_model(dustbin=-4.0):
    """Create a model whose logit decreases with the distance in box heights."""
    model = NeuralKalmanFilter(hidden=4)
    with torch.no_grad():
        model.network.layers[0].weight.copy_(torch.eye(2, 5).repeat(2, 1) * torch.tensor([[1.0], [1], [-1], [-1]]))
        model.network.layers[0].bias.zero_()
        model.network.layers[2].weight.fill_(-40.0)
        model.network.layers[2].bias.zero_()
        model.dustbin.fill_(dustbin)
    return model.eval()


def table(rows):
    frames = np.concatenate([np.full(len(ids), frame) for frame, ids, _ in rows])
    return BoxTable(frames, np.concatenate([ids for _, ids, _ in rows]), np.concatenate([boxes for *_, boxes in rows]))


def track(make_tracker, scenes):
    """Return the IDF1 in percent of a new tracker per scene, over all scenes."""
    right = total = 0
    for truth, detections in scenes:
        tracker, together, rows = make_tracker(), {}, 0
        for frame in detections.frames:
            boxes = detections.table.boxes_xyxy[detections.table.frame(frame)]
            tracks = tracker.update(boxes, np.ones(len(boxes)))
            rows += len(tracks)
            real = truth.frame(frame)
            overlap = overlap_matrix(truth.boxes_xyxy[real].T, tracks.boxes_xyxy.T) >= 0.5
            for a, b in zip(*overlap.nonzero(), strict=True):
                pair = truth.ids[real][a], tracks.ids[b]
                together[pair] = together.get(pair, 0) + 1
        identities = [sorted({pair[side] for pair in together}) for side in (0, 1)]
        counts = np.array([[together.get((a, b), 0) for b in identities[1]] for a in identities[0]]).reshape(
            len(identities[0]), -1
        )
        right += counts[linear_sum_assignment(counts, maximize=True)].sum()
        total += rows + len(truth)
    return 200 * right / total
