import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import (
    EMKalmanTracker,
    MotionModel,
    NeuralKalmanFilter,
    load_model,
    pairwise_box_features,
    save_model,
)
from em_kalman.tracking.matching import FrameAssociation
from em_kalman.tracking.tracker import READY_MODEL
from mot_core.association.assignment import assign
from mot_core.cli import main
from mot_core.io import make_scene, read_mot
from mot_core.ops import sinkhorn


def boxes(*lefts):
    return np.array([[left, 0.0, left + 40, 100.0] for left in lefts]).reshape(-1, 4)


def test_births_gaps_deaths_and_identities():
    tracker = EMKalmanTracker(model=make_distance_model(), max_age=2)
    assert tracker.update(boxes(0, 300), np.ones(2)).ids.tolist() == [1, 2]
    assert tracker.update(boxes(302, 3), np.ones(2)).ids.tolist() == [1, 2]
    tracks = tracker.update(boxes(304), np.ones(1))
    assert (tracks.ids.tolist(), tracks.detection_index.tolist()) == ([2], [0])
    assert tracks.boxes_xyxy.tolist() == boxes(304).tolist()  # the unfiltered detection
    assert tracker.update(boxes(6, 306), np.ones(2)).ids.tolist() == [1, 2]  # found again after a gap
    for gap in (2, 3):  # max_age allows the first only
        assert tracker.update(boxes(6, 306), np.ones(2)).ids.tolist() == [1, 2]
        for _ in range(gap):
            assert len(tracker.update(boxes(), np.ones(0))) == 0
    assert len(tracker.update(boxes(6), np.ones(1))) == 0  # new: it needs a second detection
    assert tracker.update(boxes(7), np.ones(1)).ids.tolist() == [3]
    tracker.reset()
    assert tracker.update(boxes(6), np.ones(1)).ids.tolist() == [1]


def test_new_track_without_second_detection_is_dropped():
    for min_hits, ids in ((0, [2]), (1, []), (2, [])):
        tracker = EMKalmanTracker(model=make_distance_model(), min_hits=min_hits)
        tracker.update(boxes(0), np.ones(1))
        assert tracker.update(boxes(0, 300), np.ones(2)).ids.tolist() == [1, *ids]
        assert tracker.update(boxes(0), np.ones(1)).ids.tolist() == [1]
        seen = [tracker.update(boxes(0, 300), np.ones(2)).ids.tolist()[1:] for _ in range(3)]
        assert seen == [[[2]] * 3, [[], [3], [3]], [[], [], [3]]][min_hits]


def test_distant_detection_starts_a_track():
    tracker = EMKalmanTracker(model=make_distance_model())
    tracker.update(boxes(0), np.ones(1))
    assert len(tracker.update(boxes(30), np.ones(1))) == 0
    assert tracker.update(boxes(30), np.ones(1)).ids.tolist() == [2]


def test_velocity_carries_over_gaps():
    tracker = EMKalmanTracker(model=make_distance_model(-2.0), max_age=9)
    for left in range(0, 40, 4):
        assert tracker.update(boxes(left), np.ones(1)).ids.tolist() == [1]
    for _ in range(4):
        tracker.update(boxes(), np.ones(0))
    assert tracker.update(boxes(56), np.ones(1)).ids.tolist() == [1]


def test_velocity_carries_over_time():
    def found(timestamp):
        tracker = EMKalmanTracker(model=make_distance_model(-2.0))
        for frame in range(10):
            tracker.update(boxes(4 * frame), np.ones(1), timestamp=frame / 30)
        return tracker.update(boxes(56), np.ones(1), timestamp=timestamp).ids.tolist()

    assert (found(10 / 30), found(14 / 30)) == ([], [1])


def test_size_of_the_last_detection():
    """A box that grows by a half at once, which a filter would smooth."""
    tracker = EMKalmanTracker(model=make_distance_model())
    tracker.update(boxes(0), np.ones(1))
    for _ in range(3):
        tracker.update(np.array([[0.0, -50, 60, 100]]), np.ones(1))
    state = tracker.state_dict()["streams"][0]["values"]
    assert state[2:4, 0].tolist() == [60 / 150, 150]


def test_scores_equal_the_network():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for inclusive in (True, False):
        model = NeuralKalmanFilter(inclusive=inclusive)
        corner = rng.uniform(0, 100, (2, 7))
        given = np.concatenate([corner, corner + rng.uniform(1, 60, (2, 7))])
        earlier, later = given[:, :4], given[:, 4:]
        found = FrameAssociation(model).scores(earlier[:, :, None], later[:, None])
        first, second = torch.tensor(earlier.T).float(), torch.tensor(later.T).float()
        expected = model.network(pairwise_box_features(first, second, inclusive=inclusive))
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)


def test_matching_is_the_limit_of_the_plan():
    """Compare with Sinkhorn and the model's dustbin at a temperature near 0."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        scores, dustbin = rng.normal(size=(5, 4)), torch.tensor(0.3)
        plan = sinkhorn(torch.tensor(scores), dustbin=dustbin, temperature=0.005, num_iters=1000)[:-1, :-1].exp()
        best = assign(-scores, -dustbin.item())
        gain = scores - dustbin.item()
        assert (plan.numpy() * gain).sum() == pytest.approx(gain[best].sum(), abs=0.01)


def test_classes_and_min_score():
    tracker = EMKalmanTracker(model=make_distance_model(), min_score=0.3, min_hits=0)
    tracker.update(boxes(0), [0.9], [0])
    assert tracker.update(boxes(1), [0.9], [1]).ids.tolist() == [2]
    tracks = tracker.update(boxes(500, 1, 900), [0.2, 0.9, 0.9])
    assert tracks.detection_index.tolist() == [1, 2]
    assert tracks.boxes_xyxy.tolist() == boxes(1, 900).tolist()


def test_state_continues_and_streams_are_independent():
    one, other = (EMKalmanTracker(model=make_distance_model()) for _ in range(2))
    for left in (0, 5, 10):
        one.update(boxes(left), np.ones(1))
    other.load_state_dict(one.state_dict())
    assert other.update(boxes(15), np.ones(1)).ids.tolist() == one.update(boxes(15), np.ones(1)).ids.tolist() == [1]
    assert isinstance(one.update(torch.tensor(boxes(20)), torch.ones(1)).ids, torch.Tensor)


def test_order_of_detections_does_not_matter():
    rng = np.random.default_rng(0)
    one, other = (EMKalmanTracker(model=make_distance_model()) for _ in range(2))
    place = rng.uniform(0, 2000, 12)
    for frame in range(20):
        place = place + rng.normal(0, 1, 12)
        order = rng.permutation(12) if frame else np.arange(12)
        here = one.update(boxes(*place), np.ones(12))
        there = other.update(boxes(*place[order]), np.ones(12))
        by_box = [dict(zip(t.boxes_xyxy[:, 0].tolist(), t.ids.tolist(), strict=True)) for t in (here, there)]
        assert by_box[0] == by_box[1]
    assert max(by_box[0].values()) < 16


def test_model_from_a_file(tmp_path):
    torch.manual_seed(0)
    model = NeuralKalmanFilter(MotionModel(q=0.3), hidden=3, learn_noise=True, num_iters=9)
    save_model(model, tmp_path / "new" / "model.pt")
    loaded = load_model(tmp_path / "new" / "model.pt")
    assert loaded.settings == model.settings
    assert loaded.motion == model.motion
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_mot_track_command(tmp_path):
    make_scene(num_objects=5, num_frames=20).save(tmp_path / "data")
    save_model(make_distance_model(), tmp_path / "model.pt")
    arguments = ["track", str(tmp_path / "data"), "--tracker", "em_kalman", "--benchmark", "generic", "--output"]
    flags = ["--checkpoint", str(tmp_path / "model.pt"), "--max-age", "9"]
    assert main([*arguments, str(tmp_path / "out"), *flags]) == 0
    results = read_mot(tmp_path / "out" / "synthetic.txt", kind="results")
    assert len(results) > 50
    assert results.ids.min() == 1
    assert main([*arguments, str(tmp_path / "ready")]) == 0  # the model of the package
    assert len(read_mot(tmp_path / "ready" / "synthetic.txt", kind="results")) > 50


def test_invalid_arguments(tmp_path):
    with pytest.raises(ValueError, match="max_seconds must be 0 or more"):
        EMKalmanTracker(max_seconds=-1.0)
    with pytest.raises(ValueError, match="expected a dustbin for online tracking"):
        EMKalmanTracker(model=NeuralKalmanFilter(dustbin=False))
    with pytest.raises(FileNotFoundError, match="file not found"):
        load_model(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not a model")
    with pytest.raises(ValueError, match="expected a checkpoint written by PyTorch"):
        load_model(tmp_path / "text.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="another checkpoint"):
        load_model(tmp_path / "other.pt")
    torch.save({"format": "em_kalman", "version": 7}, tmp_path / "newer.pt")
    with pytest.raises(ValueError, match="expected format version 2, got 7"):
        load_model(tmp_path / "newer.pt")
    with pytest.raises(ValueError, match="max_age must be 0 or more"):
        EMKalmanTracker(model=make_distance_model(), max_age=-1)
    with pytest.raises(ValueError, match="min_hits must be 0 or more"):
        EMKalmanTracker(model=make_distance_model(), min_hits=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(version="2"), "version: expected int, got str"),
        (lambda c: c.update(settings=None), "settings: expected dict, got NoneType"),
        (lambda c: c.pop("state_dict"), "state_dict: expected dict, got NoneType"),
        (
            lambda c: c["settings"].pop("motion"),
            "expected the settings and weights .*, got KeyError",
        ),
        (lambda c: c["settings"]["motion"].update(q="small"), "expected the settings and weights .*, got TypeError"),
        (lambda c: c["settings"].update(hidden=10**12), "expected the settings and weights .*, got RuntimeError"),
        (
            lambda c: c["settings"].update(hidden=9),
            "got RuntimeError: .*size mismatch",
        ),
        (
            lambda c: c["state_dict"]["network.layers.0.bias"].fill_(torch.nan),
            "bias: expected finite weights",
        ),
        (lambda c: c.update(em_kalman=3), "warm: expected bool, got int"),
        (lambda c: c.update(em_kalman={"warm": 1}), "warm: expected bool, got int"),
    ],
)
def test_invalid_files_are_reported_in_one_sentence(tmp_path, change, message):
    path = tmp_path / "model.pt"
    save_model(NeuralKalmanFilter(hidden=7), path)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"model\.pt: .*{message}") as caught:
        EMKalmanTracker(checkpoint=str(path))
    assert "\n" not in str(caught.value)


def test_damaged_file_is_detected(tmp_path):
    path = tmp_path / "model.pt"
    save_model(NeuralKalmanFilter(hidden=7), path)
    data = bytearray(path.read_bytes())
    data[data.index(b"num_iters")] ^= 8
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.pt: expected a checkpoint, got a damaged file \(wrong checksum of "):
        load_model(path)


def test_files_saved_under_former_names(tmp_path):
    """Models saved `detection_probability` as `presence`; the tracker was called OnlineAssociator."""
    model = NeuralKalmanFilter()
    model.detection_probability.copy_(torch.tensor([0.9, 0.2, 0.6]))
    save_model(model, tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["state_dict"]["presence"] = content["state_dict"].pop("detection_probability")
    torch.save(content, tmp_path / "old.pt")
    assert torch.equal(load_model(tmp_path / "old.pt").detection_probability, model.detection_probability)

    tracker, again = EMKalmanTracker(model=model), EMKalmanTracker(model=model)
    tracker.update([[0.0, 0, 10, 20]], [0.9])
    again.load_state_dict({**tracker.state_dict(), "tracker": "OnlineAssociator"})
    found = [one.update([[1.0, 0, 11, 20]], [0.9]).ids.tolist() for one in (tracker, again)]
    assert found[0] == found[1]


def weak_model(share=0.9):
    """Model whose weak detections need no additional gain at a share of 0.9."""
    model = make_distance_model()
    model.weak_share.fill_(share)
    return model


def test_weak_detection_continues_a_track_but_starts_none():
    tracker = EMKalmanTracker(model=weak_model())
    for _ in range(3):
        assert tracker.update(boxes(0), [0.9]).ids.tolist() == [1]
    tracks = tracker.update(boxes(600, 1, 300), [0.3, 0.3, 0.05])
    assert (tracks.ids.tolist(), tracks.detection_index.tolist(), tracks.scores.tolist()) == ([1], [1], [0.3])
    assert tracks.boxes_xyxy.tolist() == boxes(1).tolist()
    assert tracker.update(boxes(600, 1, 300), [0.3, 0.3, 0.05]).ids.tolist() == [1]
    assert tracker.state_dict()["streams"][0]["next_id"] == 2
    off = EMKalmanTracker(model=weak_model(), low_score=0.6)
    off.update(boxes(0), [0.9])
    assert len(off.update(boxes(0), [0.3])) == 0


def test_weak_detections_leave_filter_and_strong_matches_unchanged():
    def state(scores):
        tracker = EMKalmanTracker(model=weak_model())
        for left in (0, 4, 8):
            tracker.update(boxes(left), [0.9])
        tracker.update(boxes(10), scores)
        return tracker.state_dict()["streams"][0]["values"]

    moved, predicted, corrected = state([0.3]), state([0.05]), state([0.9])
    assert torch.equal(moved[:20], predicted[:20])
    assert not torch.equal(moved[:20], corrected[:20])
    tracker = EMKalmanTracker(model=weak_model())
    tracker.update(boxes(0), [0.9])
    assert tracker.update(boxes(0, 3), [0.5, 0.9]).detection_index.tolist() == [1]  # nearer, but weak


def test_weak_detection_of_an_unlikely_score_is_ignored():
    """At a distance of 0.02 box heights the gain is 4 - 0.8 x 4, so a share of 0.9 suffices and one of 0.5 does not."""
    for share, ids in ((0.9, [1]), (0.5, [])):
        tracker = EMKalmanTracker(model=weak_model(share))
        tracker.update(boxes(0), [0.9])
        assert tracker.update(boxes(2), [0.3]).ids.tolist() == ids


def test_lost_and_new_tracks_take_no_weak_detection():
    tracker = EMKalmanTracker(model=weak_model())
    tracker.update(boxes(0), [0.9])
    tracker.update(boxes(0, 300), [0.9, 0.9])
    assert tracker.update(boxes(0, 300), [0.9, 0.3]).ids.tolist() == [1]  # the second detection must be strong
    tracker.update(boxes(), [])
    assert len(tracker.update(boxes(0), [0.3])) == 0
    assert tracker.update(boxes(0), [0.9]).ids.tolist() == [1]


def test_max_seconds_depends_on_the_frame_rate():
    def found(empty, **options):
        tracker = EMKalmanTracker(model=make_distance_model(), **options)
        tracker.update(boxes(0), [0.9])
        for _ in range(empty):
            tracker.update(boxes(), [])
        return tracker.update(boxes(0), [0.9]).ids.tolist()

    seconds = {"max_seconds": 0.3, "frame_rate": 10.0}
    assert (found(3, **seconds), found(4, **seconds)) == ([1], [])
    assert found(8, max_seconds=0.3) == [1]  # at 30 frames per second
    assert found(31) == []


def test_ready_model_is_the_default():
    scene = make_scene(seed=3, num_objects=8, num_frames=60)
    tracker, ids = EMKalmanTracker(), set()
    for frame in range(1, 61):
        rows = scene.detections.frame(frame)
        ids |= set(tracker.update(scene.detections.boxes_xyxy[rows], scene.detections.scores[rows]).ids.tolist())
    assert 8 <= len(ids) < 16
    assert READY_MODEL.stat().st_size < 2**20


def test_scores_that_are_no_probabilities_need_thresholds(tmp_path, capsys):
    folder = make_scene(num_objects=5, num_frames=20).save(tmp_path, "street")
    path = folder / "det" / "det.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join([*row[:6], str(10 * float(row[6])), *row[7:]]) + "\n" for row in rows))
    command = f"track {folder} --benchmark generic --tracker em_kalman --output {tmp_path / 'out'}".split()
    assert main(command) == 1
    assert "set thresholds for these scores with --min-score and --low-score" in capsys.readouterr().err
    assert main([*command, "--min-score", "6", "--low-score", "1"]) == 0


def test_files_without_weak_share(tmp_path):
    save_model(weak_model(), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    del content["state_dict"]["weak_share"]
    torch.save(content, tmp_path / "old.pt")
    assert load_model(tmp_path / "old.pt").weak_share.tolist() == [0.5] * 10
