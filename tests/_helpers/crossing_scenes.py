"""Small random scenes for tracker tests: crossing objects, misses, weak detections and clutter."""

import numpy as np


def make_frames(
    seed, num_objects=8, num_frames=40, num_classes=None, size=(480, 640), miss=0.15, weak=0.25, clutter=1.0
):
    """Return frames ``(boxes_xyxy, scores, classes)`` of objects that bounce through a small image.

    Objects vanish for bursts of frames, weak detections have scores down to 0.05, and clutter is Poisson distributed.
    All values are continuous, so that no two costs are equal and every assignment is unique.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    sides = rng.uniform(30, 90, num_objects)[:, None] * [1.0, 1.8] * rng.uniform(0.8, 1.2, (num_objects, 2))
    usual = sides
    centers = rng.uniform([0, 0], [width, height], (num_objects, 2))
    speed = rng.normal(0, 6, (num_objects, 2))
    labels = rng.integers(0, num_classes or 1, num_objects)
    hidden = np.zeros(num_objects, int)
    frames = []
    for _ in range(num_frames):
        speed = 0.99 * speed + rng.normal(0, 0.7, speed.shape)  # stays in bounds in long videos
        centers += speed
        outside = (centers < 0) | (centers > [width, height])
        speed = np.where(outside, -speed, speed)
        sides = 0.98 * sides + 0.02 * usual + rng.normal(0, 0.8, sides.shape)
        hidden = np.maximum(hidden - 1, 0)
        start = (rng.random(num_objects) < miss / 4) & (hidden == 0)
        hidden[start] = rng.integers(1, 9, start.sum())
        seen = hidden == 0
        c, s = (
            centers[seen] + rng.normal(0, 1.5, (seen.sum(), 2)),
            sides[seen] * rng.uniform(0.95, 1.05, (seen.sum(), 2)),
        )
        scores = np.where(
            rng.random(seen.sum()) < weak, rng.uniform(0.05, 0.65, seen.sum()), rng.uniform(0.55, 1, seen.sum())
        )
        noise = rng.poisson(clutter)
        at, extent = rng.uniform([0, 0], [width, height], (noise, 2)), rng.uniform(20, 120, (noise, 2))
        boxes = np.concatenate([np.concatenate([c, at]) - np.concatenate([s, extent]) / 2] * 2, 1)
        boxes[:, 2:] += np.concatenate([s, extent])
        scores = np.concatenate([scores, rng.uniform(0.05, 0.9, noise)])
        classes = np.concatenate([labels[seen], rng.integers(0, num_classes or 1, noise)])
        order = rng.permutation(len(boxes))
        frames.append((boxes[order], scores[order], classes[order] if num_classes else None))
    return frames
