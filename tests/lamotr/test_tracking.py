"""Online tracking by association scores: births, matches, inactivity, re-acquisition and identities."""

from dataclasses import replace

import pytest
import torch

from lamotr import AssociationFrame, AssociationRules, Tracklets, find_births, match_tracklets, track_associations
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.io import make_scene

SIZE = (480, 640)
CERTAIN, ABSENT = 4.0, -4.0


def logits(values):
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1)


def boxes(count, start=0.0):
    return torch.tensor([[0.1 + 0.1 * i + start, 0.5, 0.08, 0.2] for i in range(count)]).reshape(-1, 4)


def frame(scores, obj, tck, obj_boxes=None, tck_boxes=None, channels=2):
    scores = torch.tensor(scores, dtype=torch.float32).reshape(len(obj), len(tck))
    embeds = [
        torch.arange(float(n * channels)).reshape(n, channels) + shift for n, shift in ((len(obj), 100), (len(tck), 0))
    ]
    return AssociationFrame(
        *embeds,
        logits(obj),
        logits(tck),
        boxes(len(obj)) if obj_boxes is None else obj_boxes,
        boxes(len(tck), 0.01) if tck_boxes is None else tck_boxes,
        scores,
        SIZE,
    )


def started(count):
    return track_associations(Tracklets.empty(2), frame([], [CERTAIN] * count, []))[0]


def test_first_frame_gives_birth_to_every_detection():
    objects = [CERTAIN, ABSENT, 0.1, -0.1]
    state, tracks = track_associations(Tracklets.empty(2), frame([], objects, []))
    assert tracks.ids.tolist() == [1, 2]
    torch.testing.assert_close(tracks.boxes_cxcywh, boxes(4)[[0, 2]])
    assert torch.equal(state.query, frame([], objects, []).obj_embed[[0, 2]])
    assert state.misses.tolist() == [0, 0]
    assert state.next_id == 3


def test_identities_increase_and_are_never_reused():
    state, seen = Tracklets.empty(2), set()
    rules = AssociationRules(patience=1)
    for _ in range(4):  # everything vanishes and something new appears in every frame
        count = len(state.ids)
        state, tracks = track_associations(state, frame([0.0] * 2 * count, [CERTAIN] * 2, [ABSENT] * count), rules)
        new = tracks.ids.tolist()
        assert new == sorted(new)
        assert not seen & set(new)
        assert not seen or min(new) > max(seen)
        seen |= set(new)
    assert seen == set(range(1, 9))


def test_matched_tracklets_report_their_own_box_and_mix_their_query():
    state = started(2)
    one = frame([[0.1, 0.9], [0.8, 0.2]], [CERTAIN, 1.0], [2.0, CERTAIN])
    state, tracks = track_associations(state, one, AssociationRules(weight=0.75))
    assert tracks.ids.tolist() == [1, 2]
    torch.testing.assert_close(tracks.boxes_cxcywh, one.tck_boxes_cxcywh)
    torch.testing.assert_close(tracks.scores, torch.tensor([2.0, CERTAIN]).sigmoid())
    torch.testing.assert_close(state.query, 0.75 * one.tck_embed + 0.25 * one.obj_embed[[1, 0]])
    torch.testing.assert_close(state.boxes_cxcywh, one.tck_boxes_cxcywh)


@pytest.mark.parametrize("patience", [1, 3])
def test_inactive_tracklets_are_frozen_and_end(patience):
    start = state = started(2)
    rules = AssociationRules(patience=patience)
    for miss in range(1, patience):
        state, tracks = track_associations(state, frame([], [], [ABSENT, CERTAIN]), rules)
        assert tracks.ids.tolist() == [2]
        assert state.misses.tolist() == [miss, 0]
        assert torch.equal(state.query[0], start.query[0])
        assert torch.equal(state.boxes_cxcywh[0], start.boxes_cxcywh[0])
    state, _ = track_associations(state, frame([], [], [ABSENT, CERTAIN]), rules)
    assert state.ids.tolist() == [2]


def test_an_object_of_any_live_tracklet_is_no_birth():
    state = started(2)
    state, _ = track_associations(state, frame([], [], [ABSENT, CERTAIN]))  # tracklet 1 is inactive
    # Objects 0 and 1 belong to tracklet 2, object 2 to the inactive one, object 3 to none.
    scores = [[0.0, 0.9], [0.0, 0.8], [0.6, 0.0], [0.5, 0.5]]
    state, tracks = track_associations(state, frame(scores, [CERTAIN] * 4, [ABSENT, CERTAIN]))
    assert tracks.ids.tolist() == [1, 2, 3]
    torch.testing.assert_close(tracks.boxes_cxcywh[2], boxes(4)[3])


def test_reacquisition_reports_the_object_under_the_old_identity():
    state = started(1)
    for _ in range(3):
        state, tracks = track_associations(state, frame([], [], [ABSENT]))
        assert len(tracks.ids) == 0
    one = frame([[0.9]], [CERTAIN], [ABSENT], obj_boxes=boxes(1, 0.4))
    state, tracks = track_associations(state, one, AssociationRules(weight=0.5))
    assert tracks.ids.tolist() == [1]
    torch.testing.assert_close(tracks.boxes_cxcywh, boxes(1, 0.4))
    torch.testing.assert_close(tracks.scores, logits([CERTAIN])[0].sigmoid())
    assert state.misses.tolist() == [0]
    torch.testing.assert_close(state.query, (one.tck_embed + one.obj_embed) / 2)
    torch.testing.assert_close(state.boxes_cxcywh, boxes(1, 0.4))


def test_classes_come_from_the_reported_box():
    wide = torch.tensor([[0.0, CERTAIN]]), torch.tensor([[ABSENT - 1, ABSENT - 2]])
    one = replace(frame([[0.9]], [CERTAIN], [ABSENT]), obj_logits=wide[0], tck_logits=wide[1])
    assert track_associations(started(1), one)[1].classes.tolist() == [1]
    seen = replace(one, tck_logits=-wide[1])
    assert track_associations(started(1), seen)[1].classes.tolist() == [1]
    assert track_associations(started(1), replace(one, tck_logits=-wide[1].flip(1)))[1].classes.tolist() == [0]


@pytest.mark.parametrize("matching", ["hungarian", "greedy"])
def test_order_of_the_queries_does_not_matter(matching):
    generator = torch.Generator().manual_seed(0)
    rules = AssociationRules(matching=matching, association_threshold=0.7, min_area=0)
    state = started(3)
    one = frame(torch.rand(12, 3, generator=generator).tolist(), [0.0] * 12, [0.5, -0.5, 0.5])
    one = replace(one, obj_logits=torch.randn(12, 1, generator=generator), obj_boxes_cxcywh=torch.rand(12, 4))
    one.obj_logits[3] = one.obj_logits[4] = 2.0  # births with equal scores
    order = torch.randperm(12, generator=generator)
    shuffled = replace(
        one, **{name: getattr(one, name)[order] for name in ("obj_embed", "obj_logits", "obj_boxes_cxcywh", "scores")}
    )
    (state, tracks), (other, again) = (track_associations(state, each, rules) for each in (one, shuffled))
    assert len(tracks.ids) > 3
    for name in ("ids", "boxes_cxcywh", "scores", "classes"):
        assert torch.equal(getattr(tracks, name), getattr(again, name))
    assert torch.equal(state.query, other.query)


def test_small_boxes_are_tracked_but_not_reported():
    tiny = torch.tensor([[0.5, 0.5, 0.015, 0.02]])  # 9.6 x 9.6 pixels
    state, tracks = track_associations(Tracklets.empty(2), frame([], [CERTAIN], [], obj_boxes=tiny))
    assert (len(state.ids), len(tracks.ids)) == (1, 0)


def brute_force(scores, threshold, greedy):
    """Return the pairs by trying all assignments, or by repeatedly taking the largest score."""
    import itertools

    rows, columns = scores.shape
    if greedy:
        pairs, left = {}, scores.clone()
        while left.numel() and left.max() > threshold:
            row, column = divmod(int(left.argmax()), columns)
            pairs[column] = row
            left[row], left[:, column] = -1, -1
        return pairs
    size = max(rows, columns)
    square = torch.zeros(size, size)
    square[:rows, :columns] = scores
    best = max(itertools.permutations(range(size)), key=lambda p: sum(square[r, c] for c, r in enumerate(p)))
    return {c: r for c, r in enumerate(best) if r < rows and c < columns and scores[r, c] > threshold}


@pytest.mark.parametrize("matching", ["hungarian", "greedy"])
@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 1), (0, 3), (3, 0)])
def test_matching_equals_brute_force(matching, shape):
    for seed in range(5):
        scores = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
        candidates = torch.rand(shape[0], generator=torch.Generator().manual_seed(seed)) < 0.8
        rows = candidates.nonzero().squeeze(1)
        wanted = torch.full((shape[1],), -1)
        for column, row in brute_force(scores[rows], 0.4, matching == "greedy").items():
            wanted[column] = rows[row]
        assert match_tracklets(scores, candidates, 0.4, matching).tolist() == wanted.tolist()
    assert find_births(torch.zeros(2, 0), torch.tensor([True, False]), torch.zeros(0).long(), 0.5).tolist() == [
        True,
        False,
    ]


def test_oracle_scores_give_perfect_identities():
    """With scores from the ground truth, every track has one identity and every identity has one track."""
    scene = make_scene(num_objects=8, num_frames=60)
    height, width = scene.image_size
    scale = torch.tensor([width, height, width, height])
    state, owner, pairs = Tracklets.empty(2), {}, set()
    for number in range(1, 61):
        rows = scene.ground_truth.frame(number)
        ids, corners = scene.ground_truth.ids[rows].tolist(), torch.from_numpy(scene.ground_truth.boxes_xyxy[rows])
        found = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1) / scale
        found = found.float()
        of_track = [owner[one] for one in state.ids.tolist()]
        scores = [[float(a == b) for b in of_track] for a in ids]
        present = [CERTAIN if one in ids else ABSENT for one in of_track]
        own = (
            torch.stack([found[ids.index(one)] if one in ids else torch.zeros(4) for one in of_track])
            if of_track
            else None
        )
        one = frame(scores, [CERTAIN] * len(ids), present, found, own)
        known = set(state.ids.tolist())
        state, tracks = track_associations(state, one, AssociationRules(patience=1000, min_area=0))
        for track, box in zip(tracks.ids.tolist(), tracks.boxes_cxcywh, strict=True):
            distance = (cxcywh_to_xyxy(found) - cxcywh_to_xyxy(box)).abs().amax(1)
            identity = ids[int(distance.argmin())]
            assert distance.min() < 1e-5
            if track not in known:
                owner[track] = identity
            pairs.add((track, identity))
        assert len(tracks.ids) == len(ids)
    assert len(pairs) == len(set(scene.ground_truth.ids.tolist())) == len({track for track, _ in pairs})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": 1.5}, r"weight: expected a number in \[0, 1\], got 1.5"),
        ({"matching": "best"}, "matching: expected hungarian or greedy, got 'best'"),
        ({"patience": 0}, "patience, min_area: expected at least 1 and 0, got 0 and 100.0"),
    ],
)
def test_bad_rules(change, message):
    with pytest.raises(ValueError, match=message):
        AssociationRules(**change)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"scores: expected shape \(2, 1\)"):
        track_associations(started(1), frame([], [CERTAIN] * 2, []))
    with pytest.raises(ValueError, match="tck_logits: expected 1 rows, got 2"):
        track_associations(started(1), replace(frame([[0.0]], [CERTAIN], [CERTAIN]), tck_logits=torch.zeros(2, 1)))
