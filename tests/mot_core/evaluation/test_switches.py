"""Causes of identity switches, on made-up cases and against the count of TrackEval."""

import io

import numpy as np
import pytest
from rich.console import Console

from mot_core.evaluation import IdentitySwitch, find_switches, print_switches
from mot_core.evaluation.protocol import FramePair
from mot_core.evaluation.scores import score_frames

FAR = {1: 0.0, 2: 100.0, 3: 200.0}  # left edge of each object; nothing overlaps


def frame(tracks, places=None):
    """A frame with every object of ``places``, and a track (or None) right on each of them, in the order of places."""
    places = FAR if places is None else places
    boxes = np.array([[x, 0.0, x + 10, 20.0] for x in places.values()]).reshape(-1, 4)
    seen = [row for row, track in enumerate(tracks) if track is not None]
    return FramePair(np.array(list(places)), boxes, np.array([tracks[row] for row in seen], np.int64), boxes[seen])


def cases(rows, **more):
    found = find_switches([frame(row) for row in rows], **more)
    return [(one.frame, one.object, one.old, one.new, one.cause, one.gap, one.other) for one in found]


def test_no_switch():
    assert cases([(7, 8, 9)] * 4) == []
    assert cases([(7, 8, 9), (None, 8, 9), (7, None, None), (7, 8, 9)]) == []  # found again
    assert find_switches([]) == []
    assert cases([(None, None, None), (7, None, None)]) == []


def test_swap():
    assert cases([(7, 8, 9), (8, 7, 9)]) == [(2, 1, 7, 8, "swap", 0, 2), (2, 2, 8, 7, "swap", 0, 1)]


def test_swap_seen_late():
    """Object 2 is not found in the frame of the swap."""
    found = cases([(7, 8, 9), (8, None, 9), (8, None, 9), (8, 7, 9)])
    assert found == [(2, 1, 7, 8, "swap", 0, 2), (4, 2, 8, 7, "swap", 2, 1)]


def test_transfer():
    """The track of object 2 moves to object 1, and the old track of object 1 ends."""
    found = cases([(7, 8, 9), (8, None, 9), (8, 10, 9)])
    assert found == [(2, 1, 7, 8, "transfer", 0, 2), (3, 2, 8, 10, "gap", 1, None)]


def test_return():
    rows = [(7, 8, 9), (10, 8, 9), (7, 8, 9)]
    assert cases(rows) == [(2, 1, 7, 10, "rejected", 0, None), (3, 1, 10, 7, "return", 0, None)]


def test_gap_lengths_and_real_frame_numbers():
    rows = [(7, 8, 9), *[(None, 8, 9)] * 4, (10, 8, 9)]
    assert cases(rows) == [(6, 1, 7, 10, "gap", 4, None)]
    assert cases(rows, numbers=range(301, 307))[0][0] == 306
    with pytest.raises(ValueError, match="numbers: expected 6, one per frame, got 5"):
        cases(rows, numbers=range(5))


@pytest.mark.parametrize(
    ("boxes", "cause"),
    [
        ({3: [[1.0, 0, 11, 20]]}, "unused box"),
        ({3: [[6.0, 0, 16, 20]]}, "gap"),  # an IoU of 0.25
        ({3: [[100.0, 0, 110, 20]]}, "gap"),  # on object 2
        ({1: [[0.0, 0, 10, 20]], 5: [[0.0, 0, 10, 20]]}, "gap"),  # before and after the gap
        ({}, "gap"),
    ],
)
def test_unused_boxes(boxes, cause):
    rows = [(7, 8, 9), *[(None, 8, 9)] * 3, (10, 8, 9)]

    def detections(number):
        return np.array(boxes.get(number, []), float).reshape(-1, 4)

    assert [one[4] for one in cases(rows, detections=detections)] == [cause]


def test_box_of_a_rival_is_not_unused():
    """A detection between two objects belongs to the one that it overlaps more."""
    places = {1: 0.0, 2: 2.0}
    frames = [frame((7, 8), places), frame((None, 8), places), frame((10, 8), places)]
    for left, cause in ((1.5, "gap"), (0.5, "unused box")):
        found = find_switches(frames, detections=lambda _, x=left: np.array([[x, 0.0, x + 10, 20]]))
        assert [one.cause for one in found] == [cause]


@pytest.mark.parametrize(("left", "occluded"), [(7.1, False), (6.9, True), (-6.9, True), (100.0, False)])
def test_occlusion(left, occluded):
    """Another object covers 29 % or 31 % of the object, only while it has no track."""
    near = {1: 0.0, 2: left}
    frames = [frame((7, 8), {1: 0.0, 2: 100.0}), frame((None, None), near), frame((10, 8), {1: 0.0, 2: 100.0})]
    assert [one.occluded for one in find_switches(frames)] == [occluded]


def test_absent_object():
    """An object that leaves and returns has a gap, without boxes to look at."""
    only_two = {2: 100.0}
    frames = [frame((7, 8, 9)), frame((8,), only_two), frame((10, 8, 9))]
    found = find_switches(frames, detections=lambda _: np.array([[0.0, 0, 10, 20]]))
    assert [(one.object, one.cause, one.gap) for one in found] == [(1, "gap", 1)]


@pytest.mark.parametrize("seed", range(6))
def test_count_equals_trackeval(seed):
    """Crowded objects that move and are found with noise by tracks that change at random, with empty frames."""
    rng = np.random.default_rng(seed)
    ids = np.arange(1, 8)
    frames, tracks, x = [], ids + 10, rng.uniform(0, 30, len(ids))
    for _ in range(60):
        x = x + rng.normal(0, 1, len(ids))
        boxes = np.stack([x, 0 * x, x + 10, 0 * x + 20], 1)
        tracks = rng.permutation(tracks) if rng.random() < 0.15 else tracks
        tracks = np.where(rng.random(len(ids)) < 0.03, rng.integers(100, 10_000, len(ids)), tracks)
        truth, found = rng.random(len(ids)) < 0.8, rng.random(len(ids)) < 0.8
        truth, found = (mask & (rng.random() > 0.05) for mask in (truth, found))
        noisy = boxes + rng.normal(0, 1.0, boxes.shape)
        frames.append(FramePair(ids[truth], boxes[truth], tracks[found], noisy[found]))
    switches = find_switches(frames)
    assert len(switches) == score_frames(frames, ["CLEAR"])["IDSW"] > 20
    assert len({one.cause for one in switches}) == 5
    assert any(one.occluded for one in switches)


def test_nothing_to_print():
    text = io.StringIO()
    print_switches([], Console(file=text))
    assert text.getvalue() == "no identity switches\n"


def test_printed_counts_and_list():
    switches = [
        IdentitySwitch(5, 1, 7, 8, "swap", 0, True, 2, "street", "car"),
        IdentitySwitch(9, 3, 1, 4, "transfer", 1, False, 6, "street", "car"),
        IdentitySwitch(40, 1, 8, 12, "gap", 31, False, None, "park"),
    ]
    text = io.StringIO()
    print_switches(switches, Console(file=text, width=120))
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.getvalue().splitlines() if "│" in line]
    assert cells == [
        ["swap", "1", "33.3", "1", "1", "0", "0", "0"],
        ["transfer", "1", "33.3", "0", "0", "1", "0", "0"],
        ["gap", "1", "33.3", "0", "0", "0", "0", "1"],
        ["all", "3", "100.0", "1", "1", "1", "0", "1"],
    ]
    assert text.getvalue().splitlines()[-3:] == [
        "street car frame 5: object 1, track 7 -> 8, swap (with object 2, occluded)",
        "street car frame 9: object 3, track 1 -> 4, transfer (1 frame, from object 6)",
        "park frame 40: object 1, track 8 -> 12, gap (31 frames)",
    ]
