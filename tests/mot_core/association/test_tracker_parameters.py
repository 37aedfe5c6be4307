"""Invalid parameters are rejected on construction."""

import pytest

from mot_core.association import ByteTrack, OCSort, Sort


@pytest.mark.parametrize(
    ("tracker_class", "parameters", "sentence"),
    [
        (ByteTrack, {"max_cost": 1.5}, "ByteTrack: max_cost must be above 0 and at most 1, got 1.5"),
        (ByteTrack, {"low_threshold": 0.7}, "ByteTrack: low_threshold must be at most track_threshold, got 0.7"),
        (ByteTrack, {"duplicate_iou": 0}, "duplicate_iou must be above 0"),
        (ByteTrack, {"max_age": -1}, "max_age must be 0 or more frames, got -1"),
        (ByteTrack, {"max_age": float("nan")}, "max_age must be 0 or more frames, got nan"),
        (ByteTrack, {"frame_rate": 0}, "frame_rate must be a positive number of frames per second, got 0"),
        (Sort, {"iou_threshold": 0}, "Sort: iou_threshold must be above 0 and at most 1, got 0"),
        (Sort, {"min_hits": -1}, "min_hits must be 0 or more detections"),
        (Sort, {"min_area": -5}, "min_area must be 0 or more square pixels"),
        (Sort, {"max_aspect": 0}, "max_aspect must be positive"),
        (OCSort, {"delta_t": 0}, "OCSort: delta_t must be at least 1 frame, got 0"),
        (OCSort, {"inertia": 0.6}, "inertia must be 0 or more, below 2"),
    ],
)
def test_invalid_parameters_are_rejected(tracker_class, parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        tracker_class(**parameters)


@pytest.mark.parametrize("tracker_class", [Sort, OCSort])
def test_confirmed_track_is_reported_after_gap(tracker_class):
    """The official code hides a track for min_hits frames after every gap; the default does not."""

    def frames_reported(tracker):
        frames = []
        for number in range(1, 21):
            seen = [] if number == 10 else [[5.0 * number, 0, 5.0 * number + 40, 80]]
            if len(tracker.update(seen, [0.9] * len(seen))):
                frames.append(number)
        return frames

    every_frame = [number for number in range(1, 21) if number != 10]
    assert frames_reported(tracker_class()) == every_frame
    official = tracker_class.preset("official:maxage30" if tracker_class is Sort else "official")
    assert frames_reported(official) == [number for number in every_frame if number not in (11, 12)]
