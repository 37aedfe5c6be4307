from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.slots import boxes_xyxy, detections, keep_slots, pad_stack, slot_ids, slot_iou, split_slots, trajectories
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets


def make_clip(seed, clips=2, frames=4, most_slots=6, objects=4, width=3):
    """Random slots and assignments: some objects have a track, a detection, both or neither."""
    random = torch.Generator().manual_seed(seed)
    outputs, truths = [], []
    for time in range(frames):
        slots = int(torch.randint(0, most_slots + 1, (), generator=random))
        ids = torch.stack([torch.randperm(9, generator=random)[:objects] for _ in range(clips)])
        known = torch.rand(clips, objects, generator=random) < 0.8
        boxes = torch.rand(clips, objects, 4, generator=random, dtype=torch.float64) * 0.5 + 0.2
        truths.append(FrameTargets(boxes, torch.zeros_like(ids), ids.where(known, -1), known))
        is_track = torch.rand(clips, slots, generator=random) < 0.5
        gt_index = torch.full((clips, slots), -1)
        for clip in range(clips):
            for kind in (True, False):
                rows = torch.nonzero(is_track[clip] == kind).flatten()
                picks = torch.randperm(objects, generator=random)[: len(rows)]
                gt_index[clip, rows[: len(picks)]] = picks
        gt_index[torch.rand(clips, slots, generator=random) < 0.2] = -1
        outputs.append(
            FrameOutput(
                torch.rand(clips, slots, 4, generator=random, dtype=torch.float64) * 0.5 + 0.2,
                torch.randn(clips, slots, 2, generator=random),
                torch.rand(clips, slots, generator=random) < 0.8,
                torch.tensor([[100, 200]] * clips),
                torch.full((clips,), time),
                is_track=is_track,
                gt_index=gt_index,
                embeddings=torch.randn(clips, slots, width, generator=random, dtype=torch.float64),
            )
        )
    return ClipOutput(outputs, truths)


def overlap(a, b):
    """IoU of two cxcywh boxes in plain Python."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.tolist(), b.tolist()
    wide = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    high = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    shared = max(wide, 0) * max(high, 0)
    return shared / (aw * ah + bw * bh - shared)


def slots_by_identity(frame, truth, clip):
    """{identity: slot} by loops, with precedence for tracks."""
    found = {}
    for kind in (False, True):
        for slot in range(frame.valid.shape[1]):
            row = int(frame.gt_index[clip, slot])
            if frame.valid[clip, slot] and row >= 0 and bool(frame.is_track[clip, slot]) == kind:
                identity = int(truth.ids[clip, row])
                if identity >= 0:
                    found[identity] = slot
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), objects=st.integers(0, 5), frames=st.integers(1, 4))
def test_trajectories_equal_plain_loops(seed, objects, frames):
    clip = make_clip(seed, objects=objects, frames=frames)
    result = trajectories(clip)
    for batch in range(2):
        per_frame = [slots_by_identity(f, t, batch) for f, t in zip(clip.frames, clip.targets, strict=True)]
        identities = sorted(set().union(*per_frame))
        assert result.ids[batch].tolist() == identities + [-1] * (result.ids.shape[1] - len(identities))
        for row in range(result.ids.shape[1]):
            for time, found in enumerate(per_frame):
                slot = found.get(int(result.ids[batch, row])) if row < len(identities) else None
                assert bool(result.present[batch, row, time]) == (slot is not None)
                place = (batch, row, time)
                if slot is None:
                    assert not result.boxes_cxcywh[place].any()
                    assert not result.embeddings[place].any()
                    assert result.iou[place] == 0
                    continue
                frame, truth = clip.frames[time], clip.targets[time]
                assert torch.equal(result.boxes_cxcywh[place], frame.boxes_cxcywh[batch, slot])
                assert torch.equal(result.embeddings[place], frame.embeddings[batch, slot])
                box = truth.boxes_cxcywh[batch, frame.gt_index[batch, slot]]
                assert result.iou[place].item() == pytest.approx(overlap(frame.boxes_cxcywh[batch, slot], box))


def test_gradient_of_trajectories():
    clip = make_clip(3)
    for frame in clip.frames:
        frame.embeddings.requires_grad_()
        frame.boxes_cxcywh.requires_grad_()
    result = trajectories(clip)
    (result.embeddings.sum() + result.boxes_cxcywh.sum() + result.iou.sum()).backward()
    for frame, truth in zip(clip.frames, clip.targets, strict=True):
        used = torch.zeros_like(frame.valid)
        for batch in range(2):
            used[batch, list(slots_by_identity(frame, truth, batch).values())] = True
        assert torch.equal(frame.embeddings.grad.abs().sum(-1) > 0, used)
        assert torch.equal(frame.boxes_cxcywh.grad.abs().sum(-1) > 0, used)


def test_nan_padding_has_no_effect():
    clean = make_clip(5)
    dirty = [
        replace(
            frame,
            boxes_cxcywh=frame.boxes_cxcywh.masked_fill(~frame.valid[..., None], torch.nan).requires_grad_(),
            embeddings=frame.embeddings.masked_fill(~frame.valid[..., None], torch.nan).requires_grad_(),
        )
        for frame in clean.frames
    ]
    a, b = trajectories(clean), trajectories(ClipOutput(dirty, clean.targets))
    assert torch.equal(a.iou, b.iou)
    assert torch.equal(a.embeddings, b.embeddings)
    (b.iou.sum() + b.embeddings.sum()).backward()
    assert all(f.boxes_cxcywh.grad.isfinite().all() and f.embeddings.grad.isfinite().all() for f in dirty)


def test_slot_order_invariance():
    clip = make_clip(7)
    shuffled = []
    for frame in clip.frames:
        order = torch.randperm(frame.valid.shape[1])
        names = ["boxes_cxcywh", "logits", "valid", "is_track", "track_ids", "gt_index", "embeddings"]
        shuffled.append(replace(frame, **{name: getattr(frame, name)[:, order] for name in names}))
    a, b = trajectories(clip), trajectories(ClipOutput(shuffled, clip.targets))
    for name in ("ids", "present", "boxes_cxcywh", "iou", "embeddings"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_trajectories_without_targets_are_rejected():
    with pytest.raises(ValueError, match=r"clip\.targets: expected the ground truth of every frame, got None"):
        trajectories(ClipOutput(make_clip(0).frames))


def test_track_takes_precedence_over_detection():
    frame = FrameOutput(
        torch.rand(1, 2, 4), torch.zeros(1, 2, 1), torch.ones(1, 2).bool(), torch.ones(1, 2), torch.tensor([1]),
        is_track=torch.tensor([[False, True]]), gt_index=torch.tensor([[0, 0]]),
    )  # fmt: skip
    ids = torch.tensor([[5]])
    truth = FrameTargets(torch.rand(1, 1, 4), ids, ids, ids > 0)
    assert slot_ids(frame, truth).tolist() == [[5, 5]]
    assert slot_ids(frame, truth, unique=True).tolist() == [[-1, 5]]


def test_iou_of_the_tracker_takes_precedence():
    clip = make_clip(1)
    own = torch.rand_like(clip.frames[0].logits[..., 0])
    assert slot_iou(replace(clip.frames[0], iou=own), clip.targets[0]) is own


def test_boxes_in_pixels():
    """One box of an image 100 high and 200 wide, by hand."""
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.4]]])
    frame = FrameOutput(
        box, torch.zeros(1, 1, 1), torch.ones(1, 1).bool(), torch.tensor([[100, 200]]), torch.tensor([1])
    )
    assert boxes_xyxy(frame).flatten().tolist() == pytest.approx([80, 30, 120, 70])


def test_detections_are_packed_without_identities():
    frame = make_clip(11).frames[0]
    found = detections(frame, 0.6)
    scores = frame.logits.sigmoid().amax(-1)
    for batch in range(2):
        rows = torch.nonzero(frame.valid[batch] & (scores[batch] >= 0.6)).flatten()
        assert found.valid[batch].tolist() == [True] * len(rows) + [False] * (found.valid.shape[1] - len(rows))
        assert torch.equal(found.boxes_cxcywh[batch, : len(rows)], frame.boxes_cxcywh[batch, rows])
        assert torch.equal(found.embeddings[batch, : len(rows)], frame.embeddings[batch, rows])
    assert (found.gt_index == -1).all()
    assert (found.track_ids == -1).all()
    assert not found.is_track.any()


def test_split_slots():
    frame = replace(make_clip(2, most_slots=9).frames[1], assoc=None)
    frame = replace(frame, assoc=torch.randn(2, 5, frame.valid.shape[1]))
    parts = split_slots(frame)
    for part, kind in zip(parts, (False, True), strict=True):
        for batch in range(2):
            rows = torch.nonzero(frame.valid[batch] & (frame.is_track[batch] == kind)).flatten()
            assert part.valid[batch].sum() == len(rows)
            assert torch.equal(part.gt_index[batch, : len(rows)], frame.gt_index[batch, rows])
            assert torch.equal(part.assoc[batch][:, : len(rows)], frame.assoc[batch][:, rows])
            assert (part.gt_index[batch, len(rows) :] == -1).all()


def test_empty_slots():
    clip = make_clip(0, most_slots=0)
    frame = clip.frames[0]
    frame.embeddings.requires_grad_()
    assert trajectories(clip).embeddings.requires_grad
    assert keep_slots(frame, frame.valid).boxes_cxcywh.shape == (2, 0, 4)
    assert detections(frame).valid.shape == (2, 0)


def test_pad_stack():
    parts = [torch.rand(2, n, 3) for n in (2, 0, 5)]
    stacked = pad_stack(parts, fill=-1)
    assert stacked.shape == (2, 3, 5, 3)
    assert torch.equal(stacked[:, 0, :2], parts[0])
    assert (stacked[:, 0, 2:] == -1).all()
    assert (stacked[:, 1] == -1).all()
