"""Online tracking with embeddings where boxes are ambiguous, learned without labels."""

import re
from io import BytesIO

import numpy as np
import pytest
import torch

from em_kalman import (
    DetectionSequence,
    EMKalmanTracker,
    NeuralKalmanFilter,
    Schedule,
    WindowBatch,
    WindowSampler,
    fit,
    save_model,
)
from em_kalman.tracking.matching import FrameAssociation
from mot_core.association import Sort
from mot_core.association.frame_detections import read_frame
from mot_core.io import BoxTable
from mot_core.structures import Detections

LOOK = 8
SIDES = np.array([40, 100])
SIZE = (1080, 1920)


def appearance_of(people, rng):
    """Return distinct appearance features ``(people, LOOK)``."""
    return np.linalg.qr(rng.standard_normal((LOOK, LOOK)))[0][:people]


def street(seed, people=6, frames=60):
    """Return equally sized people who walk straight and fast, shuffled and 5% missing, with appearance features."""
    rng = np.random.default_rng(seed)
    appearance, place = appearance_of(people, rng), rng.uniform(200, [1700, 880], (people, 2))
    step = 12 * rng.standard_normal((people, 2))
    rows, seen = [], []
    for frame in range(1, frames + 1):
        who = rng.permutation(people)
        who = who[rng.random(people) > 0.05]
        corner = place[who] + rng.standard_normal((len(who), 2))
        rows.append((np.full(len(who), frame), np.concatenate([corner, corner + SIDES], 1)))
        seen.append(appearance[who] + 0.1 * rng.standard_normal((len(who), LOOK)))
        place = place + step
        step = np.where((place < 0) | (place > [1880, 980]), -step, step)
    numbers, boxes = (np.concatenate(each) for each in zip(*rows, strict=True))
    table = BoxTable(numbers, np.full(len(numbers), -1), boxes)
    embeddings = torch.tensor(np.concatenate(seen), dtype=torch.float32)
    return DetectionSequence(f"street {seed}", table, range(1, frames + 1), SIZE, embeddings=embeddings)


@pytest.fixture(scope="module")
def learned():
    """Train models on the same detections, with and without embeddings."""
    models = {}
    for embeddings in (False, True):
        torch.manual_seed(0)
        models[embeddings] = NeuralKalmanFilter(embeddings=embeddings)
        fit(models[embeddings], WindowSampler([street(seed) for seed in range(3)], stride=6), Schedule(min_steps=40))
    return models


def boxes(*places):
    return np.array([[x, y, x + 40, y + 100] for x, y in places], float).reshape(-1, 4)


def names(model, frames):
    """Return the identity of each person in every frame; ``frames`` are lists of ``(person, x, y)``."""
    rng = np.random.default_rng(1)
    appearance, tracker, found = appearance_of(LOOK, rng), EMKalmanTracker(model=model), []
    for people in frames:
        given = boxes(*((x, y) for _, x, y in people))
        seen = appearance[[person for person, _, _ in people]] + 0.1 * rng.standard_normal((len(people), LOOK))
        tracks = tracker.update(given, np.ones(len(given)), embeddings=seen if model.embeddings else None)
        ids = dict(zip(tracks.detection_index.tolist(), tracks.ids.tolist(), strict=True))
        found.append([ids.get(row) for row in range(len(people))])
    return found


def test_objects_that_meet_and_turn_back(learned):
    """They share a position for a moment; motion alone predicts that they pass each other."""
    frames = [[(0, 400 - 5 * abs(20 - t), 300), (1, 400 + 5 * abs(20 - t), 300)] for t in range(41)]
    assert names(learned[True], frames)[-1] == [1, 2]
    assert names(learned[False], frames)[-1] == [2, 1]


def test_objects_that_swap_positions_while_hidden(learned):
    """Both are hidden for five frames and return where the other is expected."""
    frames = [[(0, 300 + 4 * t, 300), (1, 320 + 4 * t, 300)] for t in range(15)]
    frames += [[]] * 5 + [[(0, 320 + 4 * t, 300), (1, 300 + 4 * t, 300)] for t in range(20, 30)]
    assert names(learned[True], frames)[-1] == [1, 2]
    assert names(learned[False], frames)[-1] == [2, 1]


def test_score_equals_the_network():
    """Includes zero embeddings and embeddings of any scale."""
    torch.manual_seed(0)
    model = NeuralKalmanFilter(embeddings=True)
    rng = np.random.default_rng(0)
    given = boxes((0, 0), (30, 5), (200, 40), (3, 2), (207, 38), (28, 9))
    appearance = rng.standard_normal((6, LOOK))
    appearance[1] = 0.0
    window = WindowBatch(
        torch.tensor(given).view(1, 2, 3, 4),
        torch.ones(1, 2, 3, dtype=torch.bool),
        torch.tensor([SIZE]),
        torch.arange(2)[None],
        embeddings=torch.tensor(7 * appearance).view(1, 2, 3, LOOK),
    )
    expected = model.double()(window).logits[0, 0]
    unit = [read_frame(given, np.ones(6), None, scale * appearance).embeddings for scale in (1.0, 1000.0)]
    np.testing.assert_allclose(*unit, atol=1e-12)
    corners = given.T
    found = FrameAssociation(model).scores(corners[:, :3, None], corners[:, None, 3:], unit[0][:3] @ unit[0][3:].T)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-9)


def test_saved_state_continues_and_streams_are_independent(learned):
    """With births, deaths, empty frames and weak detections."""
    rng = np.random.default_rng(0)
    frames = []
    for t in range(30):
        here = rng.permutation(4)[: rng.integers(0, 5)]
        places = [(100 * person + 6 * t, 300 + 3 * person) for person in here]
        appearance = np.eye(LOOK)[here] + 0.1 * rng.standard_normal((len(here), LOOK))
        frames.append(Detections(boxes(*places), rng.uniform(0.2, 1, len(here)), embeddings=appearance))

    def tracker():
        return EMKalmanTracker(model=learned[True], min_score=0.3, max_age=4)

    one, other, both = tracker(), tracker(), tracker()
    ids = [one.update(*_arguments(frame)).ids.tolist() for frame in frames[:15]]
    file = BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    rest = [other.update(*_arguments(frame)).ids.tolist() for frame in frames[15:]]
    assert rest == [one.update(*_arguments(frame)).ids.tolist() for frame in frames[15:]]
    for number, frame in enumerate(frames):
        found = both.update_streams({"a": frame, "b": frames[0][:0] if number < 3 else frame})
        assert found["a"].ids.tolist() == (ids + rest)[number]
    assert max(max(each, default=0) for each in rest) > 4


def _arguments(frame):
    return frame.boxes_xyxy, frame.scores, None, None, frame.embeddings


def test_checkpoint_tracks(learned, tmp_path):
    save_model(learned[True], tmp_path / "model.pt")
    tracker = EMKalmanTracker(checkpoint=str(tmp_path / "model.pt"))
    for left in (0, 5):
        ids = tracker.update(torch.tensor(boxes((left, 0))), torch.ones(1), embeddings=torch.ones(1, LOOK)).ids
    assert ids.tolist() == [1]


def test_track_embedding_of_the_last_detection(learned):
    """Includes tracks that start while others continue."""
    tracker, appearance = EMKalmanTracker(model=learned[True]), np.eye(LOOK)
    for people in ([2], [5, 2, 3], [3, 2, 5]):
        places = [(300 * person, 0) for person in people]
        tracks = tracker.update(boxes(*places), np.ones(len(people)), embeddings=appearance[people])
        kept = tracker.state_dict()["streams"][0]
        found = [people[row] for row in kept["labels"][2]]  # the row of the last detection
        assert kept["embeddings"].argmax(1).tolist() == found
    assert len(found) == len(tracks) == 3


def test_training_learns_the_detection_probability(learned):
    """With embeddings; 5% of the detections are missing."""
    assert 0.85 < learned[True].detection_probability[0] < 0.99


def test_invalid_arguments():
    with_embeddings, without = (EMKalmanTracker(model=NeuralKalmanFilter(embeddings=each)) for each in (True, False))
    box, appearance = boxes((0, 0)), np.ones((1, LOOK))
    for tracker in (without, Sort()):
        with pytest.raises(ValueError, match=f"{type(tracker).__name__} does not use embeddings here: leave them out"):
            tracker.update(box, [1.0], embeddings=appearance)
    with pytest.raises(ValueError, match=re.escape("has a model that needs embeddings: give update() an array (N, E)")):
        with_embeddings.update(box, [1.0])
    with pytest.raises(ValueError, match=re.escape("embeddings must have shape (1, E), one row per row of boxes_xyxy")):
        with_embeddings.update(box, [1.0], embeddings=np.ones((2, LOOK)))
    with pytest.raises(ValueError, match="embeddings must be finite, but row 0 is not"):
        with_embeddings.update(box, [1.0], embeddings=np.nan * appearance)
    assert len(with_embeddings.update(boxes(), [])) == 0
    with_embeddings.update(box, [1.0], embeddings=appearance)
    with pytest.raises(ValueError, match="embeddings of this stream have 8 numbers, those of this frame 3"):
        with_embeddings.update(box, [1.0], embeddings=np.ones((1, 3)))
    without.update(box, [1.0])
    for one, other, sentence in (
        (with_embeddings, without, "has embeddings"),
        (without, with_embeddings, "has no embeddings"),
    ):
        with pytest.raises(ValueError, match=f"the state of stream 0 {sentence}; it was saved with another model"):
            other.load_state_dict(one.state_dict())
