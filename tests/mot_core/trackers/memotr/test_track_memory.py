"""Selection and queries of MeMOTR's tracks compared with loops over slots."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.structures import FrameOutput, TrackState
from mot_core.trackers.memotr.track_memory import form_memories, keep_confident

OBJECTS, TRACKS, CHANNELS = 5, 4, 3


def matched_frame(seed, clips=2, with_position=False):
    """Return random matched slots, identities after matching, and the tracks that were decoded in the frame."""
    random = torch.Generator().manual_seed(seed)
    slots = OBJECTS + TRACKS

    def drawn(*shape):
        return torch.rand(clips, *shape, generator=random, dtype=torch.float64)

    valid = drawn(slots) > 0.1
    valid[:, :OBJECTS] = True
    is_track = valid & (torch.arange(slots) >= OBJECTS)
    gt_index = torch.where(drawn(slots) < 0.5, torch.arange(slots), -1).where(valid, -1)
    ids = torch.where(drawn(slots) < 0.6, torch.arange(slots) + 10, -1).where(valid, -1)
    common = {"valid": valid, "image_size": torch.ones(clips, 2), "time": torch.ones(clips, dtype=torch.int64)}
    layers = [
        FrameOutput(
            0.1 + 0.5 * drawn(slots, 4), drawn(slots, 2) * 6 - 3, embeddings=drawn(slots, CHANNELS),
            ref_boxes_cxcywh=0.1 + 0.5 * drawn(slots, 4), **common,
        )
        for _ in range(2)
    ]  # fmt: skip
    last = layers[1]
    frame = FrameOutput(
        last.boxes_cxcywh, last.logits, embeddings=last.embeddings, ref_boxes_cxcywh=last.ref_boxes_cxcywh,
        is_track=is_track, gt_index=gt_index, iou=drawn(slots).where(gt_index >= 0, 0), aux=(layers[0],), **common,
    )  # fmt: skip
    width = 2 * CHANNELS if with_position else CHANNELS
    before = TrackState(
        ids[:, OBJECTS:].where(is_track[:, OBJECTS:], -1), is_track[:, OBJECTS:], queries=drawn(TRACKS, width),
        ref_logits=drawn(TRACKS, 2 if with_position else 4), memory=drawn(TRACKS, 2 * CHANNELS),
    )  # fmt: skip
    return frame, ids, before


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), threshold=st.floats(0, 1))
def test_kept_slots(seed, threshold):
    frame, ids, _ = matched_frame(seed)
    keep, added, kept_ids = keep_confident(frame, ids, threshold)
    for clip, slot in torch.cartesian_prod(torch.arange(len(ids)), torch.arange(ids.shape[1])).tolist():
        score = max(1 / (1 + (-frame.logits[clip, slot]).exp())).item()
        named, valid = ids[clip, slot].item() >= 0, frame.valid[clip, slot].item()
        assert keep[clip, slot].item() == (valid and named)
        free = frame.gt_index[clip, slot].item() < 0
        assert added[clip, slot].item() == (valid and not named and free and score > threshold)
        if keep[clip, slot]:
            expected = ids[clip, slot].item() if frame.iou[clip, slot] >= 0.5 else -1
            assert kept_ids[clip, slot].item() == expected


@pytest.mark.parametrize("with_position", [False, True])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gathered_tracks(with_position, seed):
    frame, ids, before = matched_frame(seed, with_position=with_position)
    learned = torch.randn(OBJECTS, 2 * CHANNELS if with_position else CHANNELS).double()
    keep, added, ids = keep_confident(frame, ids, 0.5)
    misses = torch.arange(ids.numel()).view(ids.shape)
    tracks = form_memories(frame, ids, learned, before, keep, added, misses)
    for clip in range(len(ids)):
        chosen = [slot for slot in range(ids.shape[1]) if keep[clip, slot] or added[clip, slot]]
        order = [slot for slot in chosen if slot >= OBJECTS] + [slot for slot in chosen if slot < OBJECTS]
        assert tracks.valid[clip].tolist() == [row < len(order) for row in range(tracks.ids.shape[1])]
        assert (tracks.ids[clip, len(order) :] == -1).all()
        for row, slot in enumerate(order):
            assert tracks.ids[clip, row] == ids[clip, slot]
            assert tracks.misses[clip, row] == misses[clip, slot]
            assert torch.equal(tracks.embeddings[clip, row], frame.embeddings[clip, slot])
            assert torch.equal(tracks.boxes_cxcywh[clip, row], frame.boxes_cxcywh[clip, slot])
            if slot >= OBJECTS:
                query, reference, memory = (
                    one[clip, slot - OBJECTS] for one in (before.queries, before.ref_logits, before.memory)
                )
            else:
                content = frame.aux[-1].embeddings[clip, slot]
                query = torch.cat([learned[slot, :CHANNELS], content]) if with_position else content
                reference = torch.logit(frame.ref_boxes_cxcywh[clip, slot, : 2 if with_position else 4])
                memory = torch.cat([content, frame.embeddings[clip, slot]])
            torch.testing.assert_close(tracks.queries[clip, row], query)
            torch.testing.assert_close(tracks.ref_logits[clip, row], reference)
            torch.testing.assert_close(tracks.memory[clip, row], memory)


def test_tracks_of_a_plugin_without_memory():
    frame, ids, before = matched_frame(0)
    bare = TrackState(before.ids, before.valid, queries=before.queries, ref_logits=before.ref_logits)
    tracks = form_memories(frame, ids, torch.zeros(OBJECTS, CHANNELS).double(), bare, frame.is_track)
    own = torch.cat([before.queries, frame.embeddings[:, OBJECTS:]], -1)
    assert torch.equal(tracks.memory[tracks.valid], own[before.valid])


def test_embeddings_are_required():
    frame, ids, _ = matched_frame(0)
    bare = FrameOutput(frame.boxes_cxcywh, frame.logits, frame.valid, frame.image_size, frame.time)
    with pytest.raises(ValueError, match=r"frame\.embeddings: expected the outputs of the last"):
        form_memories(bare, ids, torch.zeros(OBJECTS, CHANNELS), None, frame.valid)
