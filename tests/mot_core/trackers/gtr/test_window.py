"""Sliding window of GTR: scores against plain loops, gates, births and resets."""

import pytest
import torch

from mot_core.boxes import pairwise_iou
from mot_core.nn import association_probabilities
from mot_core.trackers.gtr.window import SlidingWindow, WindowFrame

SIZE = torch.tensor([100, 100])


def frame(xs, time, embeddings=None):
    """Detections of 10 x 20 pixels at the given columns, with their columns as embeddings."""
    left = torch.tensor(xs, dtype=torch.float64).reshape(-1)
    boxes = torch.stack([left, left * 0 + 10, left + 10, left * 0 + 30], 1)
    features = left[:, None] if embeddings is None else torch.tensor(embeddings, dtype=torch.float64)[:, None]
    return WindowFrame(boxes, torch.full_like(left, 0.9), features, time)


def by_embedding(embeddings, counts, boxes, queries):
    """Logits that are high for equal embeddings."""
    return 4 - 8 * (embeddings[queries] - embeddings.T).abs().clamp(max=1)


def run(window, *frames):
    return [window.update(one, SIZE, by_embedding).tolist() for one in frames]


def test_scores_equal_plain_loops():
    generator = torch.Generator().manual_seed(0)
    counts, window, seen = (3, 2, 4), SlidingWindow(decay=0.7, max_distance=2.0), []

    def associate(embeddings, numbers, boxes, queries):
        return torch.randn(embeddings[queries].shape[0], len(embeddings), generator=generator, dtype=torch.float64)

    def rescore(tracks):
        seen.append(tracks)

    inputs, state = [], []
    for time, count in enumerate(counts):
        one = frame((torch.rand(count, generator=generator) * 40).tolist(), time + 5)
        inputs.append(one)
        state.append(generator.get_state())
        window.update(one, SIZE, associate, rescore)
    tracks, now = seen[-1], inputs[-1]
    generator.set_state(state[-1])
    logits = torch.randn(counts[-1], sum(counts), generator=generator, dtype=torch.float64)
    probability = association_probabilities(logits, counts)
    ids = [one.ids.tolist() for one in window.frames[:-1]]
    for row, identity in enumerate(tracks.ids.tolist()):
        last = max(time for time, own in enumerate(ids) if identity in own)
        box = inputs[last].boxes_xyxy[ids[last].index(identity)]
        assert tracks.times[row] == last + 5
        assert tracks.lengths[row] == sum(identity in own for own in ids)
        for column in range(counts[-1]):
            total, flat = 0.0, 0
            for time, own in enumerate(ids):
                for one in own:
                    age = len(ids) - 1 - time
                    total += (one == identity) * 0.7**age * probability[column, flat].item()
                    flat += 1
            total = max(total, pairwise_iou(box[None], now.boxes_xyxy[column][None]).item())
            middle = (now.boxes_xyxy[column] - box).reshape(2, 2).mean(0).norm()
            diagonal = (box[2:] - box[:2]).norm()
            expected = total if middle <= 2 * diagonal else 0.0
            assert tracks.scores[row, column].item() == pytest.approx(expected)


def test_tracks_end_with_the_window():
    assert run(SlidingWindow(length=3), frame([10], 1), frame([], 2), frame([10], 3)) == [[1], [], [1]]
    assert run(SlidingWindow(length=2), frame([10], 1), frame([], 2), frame([10], 3)) == [[1], [], [3]]


def test_overlap_and_distance():
    moved = frame([10], 1, [0]), frame([11], 2, [9])  # another embedding, the same place
    assert run(SlidingWindow(), *moved) == [[1], [1]]
    assert run(SlidingWindow(use_iou=False), *moved) == [[1], [3]]
    far = frame([10], 1, [0]), frame([80], 2, [0])
    assert run(SlidingWindow(), *far) == [[1], [3]]
    assert run(SlidingWindow(max_distance=10.0), *far) == [[1], [1]]


def test_plugin_scores_replace_the_probabilities():
    window = SlidingWindow()
    run(window, frame([10, 40], 1))
    ids = window.update(frame([10, 40], 2), SIZE, by_embedding, lambda tracks: 1 - tracks.scores.round())
    assert ids.tolist() == [2, 1]


def test_reset():
    window = SlidingWindow()
    first = run(window, frame([], 1), frame([10, 50], 2))
    window.reset()
    assert run(window, frame([], 1), frame([10, 50], 2)) == first
