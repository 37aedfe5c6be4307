"""Learned motion noise: files, and the filters of the trackers compared with a textbook filter in box heights."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mot_core.association import ByteTrack, LearnedMotion, OCSort, Sort, read_motion
from mot_core.association.kalman import BYTETRACK_NOISE, FILTER_ROWS, PP, PV, SORT_NOISE, VV, P, V
from mot_core.cli import main
from mot_core.io import make_scene, read_mot

MOTION = LearnedMotion(q=3e-4, r=2e-3, p0=5e-3, v0=2e-2, dt=0.5, trained_on="a test", q_position=4e-4)
HEIGHT = 80.0
TRACKERS = [(Sort, False), (Sort, True), (ByteTrack, False), (ByteTrack, True), (OCSort, False)]


@pytest.fixture
def path(tmp_path):
    MOTION.save(tmp_path / "motion.json")
    return str(tmp_path / "motion.json")


def textbook(places, seen):
    """Mean and covariance in box heights of a filter whose position moves by dt times the velocity."""
    F, H = np.array([[1, MOTION.dt], [0, 1]]), np.array([[1.0, 0.0]])
    mean, cov = np.array([places[0] / HEIGHT, 0.0]), np.diag([MOTION.p0, MOTION.v0])
    for place, here in list(zip(places, seen, strict=True))[1:]:
        mean, cov = F @ mean, F @ cov @ F.T + np.diag([MOTION.q_position, MOTION.q])
        if here:
            gain = cov @ H.T / (H @ cov @ H.T + MOTION.r)
            mean, cov = mean + gain[:, 0] * (place / HEIGHT - mean[0]), (np.eye(2) - gain @ H) @ cov
    return mean, cov


@pytest.mark.parametrize(("tracker_class", "gap"), TRACKERS)  # OC-SORT fills gaps with a straight line
def test_trackers_equal_textbook_filter(tracker_class, gap, path):
    tracker = tracker_class(motion=path)
    rng = np.random.default_rng(0)
    places = 300 + np.cumsum(3 + rng.normal(0, 1, 20))
    seen = np.array([not (gap and 8 <= t < 11) for t in range(20)])
    for place, here in zip(places, seen, strict=True):
        boxes = [[place - 20, 10, place + 20, 10 + HEIGHT]] if here else np.zeros((0, 4))
        tracks = tracker.update(np.array(boxes), np.full(len(boxes), 0.9))
        assert list(tracks.ids) == [1] * int(here)
    block = tracker.state_dict()["streams"][0]["values"][:FILTER_ROWS, 0].numpy()
    mean, cov = textbook(places, seen)
    x = [rows.start for rows in (P, V, PP, PV, VV)]
    wanted = HEIGHT * np.array([mean[0], MOTION.dt * mean[1]])
    np.testing.assert_allclose(block[x[:2]], wanted, rtol=1e-9)
    wanted = HEIGHT**2 * np.array([cov[0, 0], MOTION.dt * cov[0, 1], MOTION.dt**2 * cov[1, 1]])
    np.testing.assert_allclose(block[x[2:]], wanted, rtol=1e-9)


@pytest.mark.parametrize("base", [SORT_NOISE, BYTETRACK_NOISE])
def test_size_noise_is_unchanged(base):
    noise = MOTION.noise(base)
    for name in ("process", "process_velocity", "measurement", "initial", "initial_velocity"):
        assert tuple(getattr(noise, name)[2:]) == tuple(getattr(base, name)[2:])
        assert getattr(noise, name)[0] == getattr(noise, name)[1] != getattr(base, name)[0]


def test_file_round_trip(path):
    with open(path) as file:
        content = json.load(file)
    assert content == {
        "format": "mot_motion",
        "version": 1,
        "scale": "height",
        "dt": 0.5,
        "q": 3e-4,
        "r": 2e-3,
        "p0": 5e-3,
        "v0": 2e-2,
        "q_position": 4e-4,
        "trained_on": "a test",
    }
    assert read_motion(path) == MOTION
    del content["q_position"]  # files of version 0.1.0
    with open(path, "w") as file:
        json.dump(content, file)
    assert read_motion(path) == replace(MOTION, q_position=0.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('{"format": "mot_motion",\n "version" 1}', r"motion.json:2: expected JSON, got a syntax error: Expecting ':'"),
        ("[1, 2]", 'motion.json: expected "format": "mot_motion", got null'),
        ({"version": 2}, 'motion.json: expected "version": 1, got 2'),
        ({"scale": "pixel"}, 'motion.json: expected "scale": "height", got "pixel"'),
        ({"r": None}, "motion.json: r must be a positive finite number, got None"),
        ({"q": -1}, "motion.json: q must be a positive finite number, got -1"),
        ({"q_position": -1}, "motion.json: q_position must be a finite number >= 0, got -1"),
        ({"dt": "fast"}, "motion.json: dt must be a positive finite number, got 'fast'"),
        ({"v0": ...}, "motion.json: v0 is missing; a motion file needs dt, q, r, p0, v0"),
    ],
)
def test_invalid_files_are_rejected(change, sentence, path):
    if isinstance(change, dict):
        with open(path) as file:
            content = json.load(file) | change
        change = json.dumps({name: value for name, value in content.items() if value is not ...})
    with open(path, "w") as file:
        file.write(change)
    with pytest.raises(ValueError, match=sentence):
        ByteTrack(motion=path)


def test_missing_and_binary_files_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.json: no such file; mot em-kalman learn-motion"):
        Sort(motion=str(tmp_path / "none.json"))
    (tmp_path / "image.json").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match="expected a JSON file in UTF-8"):
        read_motion(tmp_path / "image.json")


@pytest.mark.parametrize("name", ["sort", "bytetrack", "ocsort"])
def test_mot_track_uses_motion_file(name, path, tmp_path, capsys):
    make_scene(num_objects=5, num_frames=30).save(tmp_path / "data")
    command = ["track", str(tmp_path / "data"), "--benchmark", "generic", "--tracker", name]
    command += ["--report", "filter", "--output"]
    assert main([*command, str(tmp_path / "hand")]) == 0
    assert main([*command, str(tmp_path / "learned"), "--motion", path]) == 0
    results = [read_mot(tmp_path / kind / "synthetic.txt", kind="results") for kind in ("hand", "learned")]
    assert all(len(one) > 80 for one in results)
    assert not np.array_equal(results[0].boxes_xyxy[:50], results[1].boxes_xyxy[:50])
    assert main([*command, str(tmp_path / "none"), "--motion", str(tmp_path / "none.json")]) == 1
    assert "none.json: no such file" in capsys.readouterr().err
