"""Timestamps: regular ones have no effect, irregular ones keep identities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.crossing_scenes import make_frames
from mot_core.association import BoTSort, ByteTrack, CBIoU, OCSort, Sort

TRACKERS = [Sort, ByteTrack, OCSort, BoTSort, CBIoU]
every_tracker = pytest.mark.parametrize("tracker_type", TRACKERS)


@every_tracker
@pytest.mark.parametrize("frame_rate", [30.0, 25.0, 29.97])
@pytest.mark.parametrize("start", [0.0, 1.7634e9], ids=["video", "unix time"])
def test_regular_timestamps_change_nothing(tracker_type, frame_rate, start):
    timed, plain = tracker_type(frame_rate=frame_rate), tracker_type()
    for number, frame in enumerate(make_frames(1, num_objects=12, num_frames=60)):
        tracks, other = timed.update(*frame, timestamp=start + number / frame_rate), plain.update(*frame)
        for name in vars(tracks):
            np.testing.assert_array_equal(getattr(tracks, name), getattr(other, name), err_msg=name)


@every_tracker
def test_frames_without_timestamp_are_one_frame_apart(tracker_type):
    mixed, plain = tracker_type(frame_rate=20.0), tracker_type()
    for number, frame in enumerate(make_frames(2, num_frames=60)):
        timestamp = 5.0 + number / 20 if number % 3 == 0 and number > 4 else None
        tracks, other = mixed.update(*frame, timestamp=timestamp), plain.update(*frame)
        np.testing.assert_array_equal(tracks.ids, other.ids)
        np.testing.assert_allclose(tracks.boxes_xyxy, other.boxes_xyxy, atol=1e-6)


def identities_of_a_walker(tracker, timed, seed):
    """Identities of one object at constant speed, filmed at 30 frames per second with bursts of dropped frames."""
    rng = np.random.default_rng(seed)
    frame, ids = 0, set()
    for number in range(80):
        frame += 1 if number < 15 else int(rng.choice([1, 1, 5, 7]))
        x = 9.0 * frame
        tracks = tracker.update([[x, 50, x + 30, 120]], [0.9], timestamp=frame / 30 if timed else None)
        ids |= set(tracks.ids.tolist())
    return ids


@every_tracker
def test_longest_accepted_pause(tracker_type):
    tracker = tracker_type()
    for time in (-1e11, -1e11 + 1, 0.0, 1e11 - 1, 1e11):
        tracker.update([[0, 0, 40, 80], [90, 0, 130, 80]], [0.9, 0.8], timestamp=time)
    for _ in range(5):
        assert len(tracker.update([[0, 0, 40, 80], [90, 0, 130, 80]], [0.9, 0.8])) <= 2


@every_tracker
@pytest.mark.parametrize("seed", range(5))
def test_timestamps_keep_identity_over_dropped_frames(tracker_type, seed):
    assert identities_of_a_walker(tracker_type(), True, seed) == {1}
    assert identities_of_a_walker(tracker_type(), False, seed) != {1}


@every_tracker
@pytest.mark.parametrize("gap", [5, 6])
def test_max_age_is_measured_in_time(tracker_type, gap):
    """A track that may be unseen for 5 frames of 40 ms survives 200 ms, regardless of the number of frames."""
    for empty in ([], [0.5], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]):
        tracker = tracker_type(max_age=5, frame_rate=25.0)
        time = 0.0
        for _ in range(8):
            time += 0.04
            tracker.update([[0, 0, 40, 80]], [0.9], timestamp=time)
        for part in empty:
            tracker.update([], [], timestamp=time + part * gap * 0.04)
        tracker.update([], [], timestamp=time + gap * 0.04)
        ids = set()
        for number in range(1, 6):
            ids |= set(tracker.update([[0, 0, 40, 80]], [0.9], timestamp=time + (gap + number) * 0.04).ids.tolist())
        assert ids == ({1} if gap <= 5 else {2})


@every_tracker
def test_arbitrary_first_timestamp(tracker_type):
    for start in (-50.0, 0.0, 1e9):
        tracker = tracker_type()
        tracker.update([[0, 0, 40, 80]], [0.9], timestamp=start)
        tracks = tracker.update([[3, 0, 43, 80]], [0.9], timestamp=start + 0.05)
        assert tracks.ids.tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(1e-4, 1e3), min_size=25, max_size=25),
    st.sampled_from(TRACKERS),
)
def test_arbitrary_timestamps_give_well_formed_tracks(seed, steps, tracker_type):
    tracker = tracker_type()
    for frame, time in zip(make_frames(seed, num_frames=25), np.cumsum(steps), strict=True):
        tracks = tracker.update(*frame, timestamp=float(time))
        assert len(set(tracks.ids.tolist())) == len(tracks)
        assert np.isfinite(tracks.boxes_xyxy).all()
        assert (tracks.boxes_xyxy[:, 2:] > tracks.boxes_xyxy[:, :2]).all()
