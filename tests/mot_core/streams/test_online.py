"""Reading ahead, selection of frames, and tracking with a detector from Python."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

import mot_core
from _helpers.painted_box import paint
from mot_core.association import Sort
from mot_core.streams import Frame, ReadAhead, select_frames
from mot_core.streams.ahead import AHEAD


def test_frames_are_read_ahead_but_not_far():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    seen = []
    for number in ReadAhead(items()):
        seen.append(number)
        assert len(made) <= number + AHEAD + 3  # constant memory
    assert seen == list(range(50))


def test_errors_of_the_reader_come_after_its_items():
    def items():
        yield 1
        raise EOFError("the end")

    reader = iter(ReadAhead(items()))
    assert next(reader) == 1
    with pytest.raises(EOFError, match="the end"):
        next(reader)


def test_leaving_early_stops_the_reader():
    closed = threading.Event()

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    for number in ReadAhead(items()):
        if number == 3:
            break
    assert closed.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "frames"]


def test_live_frames_are_dropped_rather_than_delayed():
    reader = ReadAhead(range(100), drop_oldest=True)
    seen = []
    for number in reader:
        if not seen:
            time.sleep(0.3)  # the reader goes on during this time
        seen.append(number)
    assert seen[-1] == 99
    assert seen == sorted(seen)
    assert len(seen) + reader.dropped == 100
    assert reader.dropped >= 90


@pytest.mark.parametrize(
    ("every", "most", "numbers"), [(1, None, [1, 2, 3, 4, 5, 6, 7]), (3, None, [1, 4, 7]), (2, 2, [1, 3]), (9, 5, [1])]
)
def test_selection_of_frames(every, most, numbers):
    taken = []

    def frames():
        for number in range(1, 8):
            taken.append(number)
            yield Frame(number, np.zeros((1, 1, 3), np.uint8))

    assert [one.number for one in select_frames(frames(), every, most)] == numbers
    if most is not None:
        assert taken[-1] <= max(numbers[-1], 7 if every > 7 else 0)  # no frame after the last is read


@pytest.mark.parametrize(("name", "options"), [("every", (0, None)), ("max_frames", (1, 0))])
def test_numbers_below_1_are_rejected(name, options):
    with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
        select_frames([], *options)


def find_painted(images):
    """Detect the painted box of each image."""
    found = []
    for image in images:
        rows, columns = np.nonzero(image[..., 0] > 150)
        found.append([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9, 4]] if len(rows) else [])
    return found


@pytest.fixture
def folder(tmp_path):
    """Images with a box that moves by 3 pixels per frame, and is absent in frame 5."""
    path = tmp_path / "walk"
    path.mkdir()
    for number in range(1, 13):
        box = (10 + 3 * number, 20, 34 + 3 * number, 60) if number != 5 else (0, 0, 0, 0)
        Image.fromarray(paint((80, 120), box)).save(path / f"{number:06d}.png")
    return path


def test_tracks_of_a_folder_equal_the_tracker_by_hand(folder):
    by_hand, numbers = Sort(min_hits=1), []
    for frame, tracks in mot_core.track(folder, detector=find_painted, tracker=Sort(min_hits=1)):
        numbers.append(frame.number)
        found = np.array(find_painted([frame.image])[0]).reshape(-1, 6)
        expected = by_hand.update(found[:, :4], found[:, 4], found[:, 5].astype(int))
        assert tracks.ids.tolist() == expected.ids.tolist()
        np.testing.assert_allclose(tracks.boxes_xyxy, expected.boxes_xyxy)
        assert tracks.classes.tolist() == [4] * len(tracks)
    assert numbers == list(range(1, 13))


def test_every_other_frame_keeps_the_identity_by_its_time(folder):
    tracker = Sort(min_hits=1)
    given = list(mot_core.track(folder, detector=find_painted, tracker=tracker, every=2, max_frames=4))
    assert [frame.number for frame, _ in given] == [1, 3, 5, 7]
    assert [tracks.ids.tolist() for _, tracks in given] == [[1], [1], [], [1]]
    assert tracker._streams[0].clock == pytest.approx(7)  # in frames of the source


def test_sources_and_classes_are_checked(folder, tmp_path):
    assert all(not len(tracks) for _, tracks in mot_core.track(folder, detector=find_painted, classes=[3]))
    with pytest.raises(FileNotFoundError, match=r"away\.mp4: expected a video, .* found nothing"):
        next(mot_core.track(tmp_path / "away.mp4", detector=find_painted))
    with pytest.raises(ValueError, match="unknown tracker 'byte'"):
        next(mot_core.track(folder, detector=find_painted, tracker="byte"))
