"""Selection of slots that become tracks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.structures import FrameOutput, FrameTargets
from mot_core.trackers.motr.track_queries import choose_tracks, form_tracks, next_ids


def matched_frame(seed=0, clips=2, slots=9, objects=4):
    """Return random matched slots, the last four of them tracks, and their targets."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.rand(clips, slots, generator=random) > 0.1
    is_track = valid & (torch.arange(slots) >= slots - 4)
    track_ids = torch.arange(100, 100 + slots).expand(clips, -1).where(is_track, -1)
    gt_index = torch.full((clips, slots), -1)
    for clip in range(clips):
        chosen = torch.randperm(slots, generator=random)[:objects]
        gt_index[clip, chosen] = torch.arange(objects)
    gt_index = gt_index.where(valid, -1)
    ids = torch.arange(objects).expand(clips, -1).clone()
    for clip, slot in (is_track & (gt_index >= 0)).nonzero().tolist():
        ids[clip, gt_index[clip, slot]] = track_ids[clip, slot]
    frame = FrameOutput(
        0.1 + 0.5 * torch.rand(clips, slots, 4, generator=random), torch.randn(clips, slots, 1, generator=random),
        valid, torch.ones(clips, 2), torch.ones(clips, dtype=torch.int64), is_track=is_track, track_ids=track_ids,
        gt_index=gt_index, iou=torch.rand(clips, slots, generator=random).where(gt_index >= 0, 0),
        embeddings=torch.randn(clips, slots, 8, generator=random),
    )  # fmt: skip
    return frame, FrameTargets(torch.rand(clips, objects, 4, generator=random), ids * 0, ids, ids >= 0)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def iou(a, b):
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.tolist(), b.tolist()
    width = max(min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2), 0)
    height = max(min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2), 0)
    return width * height / (aw * ah + bw * bh - width * height)


def plain(frame, targets, draws, drop, insert):
    """Reference with loops over slots; ``draws`` are the random numbers of each clip."""
    keep, added = torch.zeros_like(frame.valid), torch.zeros_like(frame.valid)
    for clip, (drops, inserts) in enumerate(draws):
        number, empty, bring = 0, [], []
        for slot in range(frame.valid.shape[1]):
            row, carried = frame.gt_index[clip, slot].item(), frame.track_ids[clip, slot].item()
            if not frame.valid[clip, slot]:
                continue
            if row < 0 and carried < 0:
                empty.append(slot)
            elif row < 0 or frame.iou[clip, slot] > 0.5:
                lost, bringing = drops[number] < drop, inserts[number] < insert
                number += 1
                keep[clip, slot] = not lost
                if bringing and not lost:
                    bring.append(slot)
        for slot in bring:
            overlaps = [iou(frame.boxes_cxcywh[clip, slot], frame.boxes_cxcywh[clip, other]) for other in empty]
            if overlaps:
                added[clip, empty[overlaps.index(max(overlaps))]] = True
    return keep, added


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), drop=st.sampled_from([0.0, 0.1, 0.5, 1.0]), insert=st.sampled_from([0.0, 0.3, 1.0]))
def test_selection_matches_loops(seed, drop, insert):
    frame, targets = matched_frame(seed)
    ids = next_ids(frame, targets)
    for clip, slot in frame.valid.nonzero().tolist():
        row = frame.gt_index[clip, slot]
        assert ids[clip, slot] == (targets.ids[clip, row] if row >= 0 else frame.track_ids[clip, slot])
    assert (ids[~frame.valid] == -1).all()
    candidates = ((ids >= 0) & ((frame.gt_index < 0) | (frame.iou > 0.5))).sum(-1)
    draws = [
        torch.rand(2, int(count), generator=random) for count, random in zip(candidates, generators(1, 2), strict=True)
    ]
    keep, added = choose_tracks(frame, ids, generators(1, 2), drop, insert)
    expected_keep, expected_added = plain(frame, targets, draws, drop, insert)
    assert torch.equal(keep, expected_keep)
    assert torch.equal(added, expected_added)


def test_random_draws_of_a_clip_do_not_depend_on_others():
    frame, targets = matched_frame(5)
    ids = next_ids(frame, targets)
    together = choose_tracks(frame, ids, generators(1, 2), 0.5, 0.5)
    slots = {name: getattr(frame, name)[1:] for name in frame.SHAPES if getattr(frame, name) is not None}
    alone = choose_tracks(FrameOutput(**slots), ids[1:], generators(2), 0.5, 0.5)
    assert all(torch.equal(a[1:], b) for a, b in zip(together, alone, strict=True))


def test_drop_and_insert_frequencies():
    count = 4000
    box = torch.tensor([0.5, 0.5, 0.2, 0.2]).expand(1, 2 * count, 4)
    gt_index = torch.cat([torch.arange(count), torch.full((count,), -1)])[None]
    valid = gt_index >= -1
    frame = FrameOutput(
        box + torch.arange(2 * count)[:, None] % count, torch.zeros(1, 2 * count, 1), valid, torch.ones(1, 2),
        torch.ones(1).long(), gt_index=gt_index, iou=(gt_index >= 0).float(),
    )  # fmt: skip
    keep, added = choose_tracks(frame, gt_index, generators(0), 0.1, 0.3)
    assert keep.sum().item() == pytest.approx(0.9 * count, rel=0.03)
    assert added.sum().item() == pytest.approx(0.9 * 0.3 * count, rel=0.06)
    assert not (keep & added).any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_form_tracks(seed):
    frame, targets = matched_frame(seed)
    ids = next_ids(frame, targets)
    queries = torch.arange(18.0).view(1, 9, 2).expand(2, -1, -1)
    misses = torch.arange(9).expand(2, -1)
    keep, added = choose_tracks(frame, ids, generators(1, 2), 0.2, 1.0)
    tracks = form_tracks(frame, ids, queries, keep, added, misses)
    for clip in range(2):
        rows = [*keep[clip].nonzero().flatten().tolist(), *added[clip].nonzero().flatten().tolist()]
        assert tracks.valid[clip].tolist() == [number < len(rows) for number in range(tracks.valid.shape[1])]
        assert tracks.ids[clip][: len(rows)].tolist() == ids[clip, rows].tolist()
        assert (tracks.ids[clip][len(rows) :] == -1).all()
        assert torch.equal(tracks.queries[clip, : len(rows)], queries[clip, rows])
        assert torch.equal(tracks.misses[clip, : len(rows)], misses[clip, rows])
        assert torch.equal(tracks.embeddings[clip, : len(rows)], frame.embeddings[clip, rows])
        torch.testing.assert_close(tracks.ref_logits[clip, : len(rows)].sigmoid(), frame.boxes_cxcywh[clip, rows, :2])
    assert tracks.valid.shape[1] == (keep | added).sum(-1).max()


def test_gradient_through_embeddings_but_not_reference_points():
    frame, targets = matched_frame(1)
    embeddings, boxes = frame.embeddings.requires_grad_(), frame.boxes_cxcywh.requires_grad_()
    ids = next_ids(frame, targets)
    tracks = form_tracks(frame, ids, torch.zeros(2, 9, 16), ids >= 0)
    assert tracks.embeddings.requires_grad
    assert not tracks.ref_logits.requires_grad
    tracks.embeddings[tracks.valid].sum().backward()
    assert (embeddings.grad.any(-1) == (ids >= 0)).all()
    assert boxes.grad is None
