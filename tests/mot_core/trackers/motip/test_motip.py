"""Losses of MOTIP compared with loops, in batches, and their gradients."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from _helpers.trackers.motip_clips import clips, gradients, make, one_clip
from mot_core.nn import TrackTokens
from mot_core.slots import slot_ids, slot_iou
from mot_core.structures import FrameTargets
from mot_core.trackers.motip.identity_labels import draw_labels


def words_by_loops(tracker, clip, batch, step):
    """Sum of cross-entropies and number of valid detections, clip by clip and group by group."""
    total, count = 0.0, 0
    newborn = tracker.id_decoder.newborn
    for row, (sequence, times) in enumerate(zip(batch.sequences, batch.times.tolist(), strict=True)):
        matched = [
            {int(one): frame.embeddings[row, slot] for slot, one in enumerate(slot_ids(frame, truth)[row]) if one >= 0}
            for frame, truth in zip(clip.frames, clip.targets, strict=True)
        ]
        identities = sorted(set().union(*matched))
        present = torch.tensor([[one in frame for frame in matched] for one in identities]).reshape(-1, len(matched))
        labels = draw_labels(
            present, newborn, tracker.groups, tracker.generator(step, sequence, times), tracker.occlusion,
            tracker.switch,
        )  # fmt: skip
        for group in range(tracker.groups):
            tokens = []  # history: time, word, embedding
            for time in range(len(matched)):
                asked = [n for n in range(len(identities)) if labels.current_valid[group, time, n]]
                if time and asked:
                    width = tracker.detector.embed_dim
                    known = [embedding for _, _, embedding in tokens]
                    history = TrackTokens(
                        torch.stack(known)[None, None] if known else torch.zeros(1, 1, 0, width).double(),
                        torch.ones(1, 1, len(tokens), dtype=torch.bool),
                        torch.tensor([at for at, _, _ in tokens], dtype=torch.int64)[None, None],
                        torch.tensor([word for _, word, _ in tokens], dtype=torch.int64)[None, None],
                    )
                    if not known:  # at least one token, even an invalid one
                        empty = torch.zeros(1, 1, 1, dtype=torch.int64)
                        history = TrackTokens(torch.zeros(1, 1, 1, width).double(), empty > 0, empty, empty)
                    now = torch.full((1, 1, len(asked)), time)
                    current = torch.stack([matched[time][identities[n]] for n in asked])[None, None]
                    history = replace(history, embeddings=tracker.trajectory_model(history.embeddings))
                    logits = tracker.id_decoder(history, TrackTokens(current, now >= 0, now))[0, 0]
                    right = [int(labels.answers[group, time, n]) for n in asked]
                    total += sum(-answer.log_softmax(-1)[word] for answer, word in zip(logits, right, strict=True))
                    count += len(asked)
                for n in range(len(identities)):
                    if labels.history_valid[group, time, n]:
                        source = identities[int(labels.source[group, time, n])]
                        tokens.append((time, int(labels.words[group, n]), matched[time][source]))
    return total, count


def test_loss_weights():
    plain, weighted = make(), make(class_weight=3.0, l1_weight=0.5, giou_weight=0.0, id_weight=0.25)
    weighted.load_state_dict(plain.state_dict())
    batch = clips(frames=3)
    before, after = plain.losses(batch)[0], weighted.losses(batch)[0]
    for name, factor in {"class": 3.0 / 2, "l1": 0.5 / 5, "giou": 0.0}.items():
        for key in (name, f"aux_{name}"):
            assert before[key] > 0
            torch.testing.assert_close(after[key], factor * before[key])
    torch.testing.assert_close(after["id"], 0.25 * before["id"])
    with pytest.raises(ValueError, match="giou_weight: expected"):
        make(giou_weight=-1.0)


@pytest.mark.parametrize("num_words", [50, 2])
def test_identity_loss_matches_loops(num_words):
    tracker, batch = make(num_words=num_words, id_weight=0.5, groups=3), clips(frames=5)
    losses, clip = tracker.losses(batch, step=3)
    total, count = words_by_loops(tracker, clip, batch, step=3)
    assert count > 10
    torch.testing.assert_close(losses["id"], 0.5 * total / count)
    wanted = torch.autograd.grad(0.5 * total / count, tracker.id_decoder.word_to_embed.weight, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(losses["id"], tracker.id_decoder.word_to_embed.weight), wanted)


def test_detection_losses_match_loops():
    """Losses are sums over all frames, divided by the number of objects in the clip."""
    tracker, batch = make(), clips()
    losses, clip = tracker.losses(batch)
    wanted = dict.fromkeys(("class", "l1", "giou"), 0.0)
    for frame, truth in zip(clip.frames, batch.targets, strict=True):
        for row in range(2):
            positive = frame.gt_index[row] >= 0
            p = frame.logits[row, :, 0].sigmoid()
            wanted["class"] += (-0.25 * (1 - p) ** 2 * p.log())[positive].sum()
            wanted["class"] += (-0.75 * p**2 * (1 - p).log())[~positive].sum()
            boxes = truth.boxes_cxcywh[row, frame.gt_index[row][positive]]
            wanted["l1"] += (frame.boxes_cxcywh[row, positive] - boxes).abs().sum()
    objects = sum(frame.valid.sum() for frame in batch.targets)
    torch.testing.assert_close(losses["class"], 2 * wanted["class"] / objects)
    torch.testing.assert_close(losses["l1"], 5 * wanted["l1"] / objects)
    assert set(losses) == {"class", "l1", "giou", "aux_class", "aux_l1", "aux_giou", "id"}
    for frame, truth in zip(clip.frames, batch.targets, strict=True):
        assert torch.equal((frame.gt_index >= 0).sum(1), truth.valid.sum(1))
        assert torch.equal(frame.iou, slot_iou(replace(frame, iou=None), truth))


def test_batch_of_two_clips_matches_single_clips():
    """Boxes and words are counted over the batch; the random draws of a clip do not depend on the other one."""
    tracker, batch = make(), clips(objects=(1, 5))
    both, clip = tracker.losses(batch, step=7)
    alone = [tracker.losses(one_clip(batch, row), step=7) for row in range(2)]
    objects = [sum(int(frame.valid[row].sum()) for frame in batch.targets) for row in range(2)]
    words = [words_by_loops(tracker, alone[row][1], one_clip(batch, row), step=7)[1] for row in range(2)]
    assert objects[0] != objects[1]
    for name, loss in both.items():
        counts = words if name == "id" else objects
        parts = sum(n * losses[name] for n, (losses, _) in zip(counts, alone, strict=True))
        torch.testing.assert_close(loss, parts / sum(counts), msg=name)
    for row in range(2):
        for frame, other in zip(clip.frames, alone[row][1].frames, strict=True):
            assert torch.equal(frame.gt_index[row : row + 1], other.gt_index)
            assert frame.has_grad == other.has_grad


def test_padding_does_not_change_the_losses():
    tracker, batch = make(), clips()
    wanted, _ = tracker.losses(batch)
    padded = [
        FrameTargets(
            F.pad(frame.boxes_cxcywh, (0, 0, 0, 3), value=0.5), F.pad(frame.labels, (0, 3)),
            F.pad(frame.ids, (0, 3), value=1), F.pad(frame.valid, (0, 3)),
            {name: F.pad(value, (0, 3)) for name, value in frame.extras.items()},
        )
        for frame in batch.targets
    ]  # fmt: skip
    found, _ = tracker.losses(replace(batch, targets=tuple(padded)))
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name])
    padding = batch.padding.clone()
    padding[:, :, 40:] = True
    noisy = batch.images.clone()
    noisy[..., 40:] = 9.0
    one, other = (tracker.losses(replace(batch, images=images, padding=padding))[0] for images in (noisy, batch.images))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_frames_with_gradient():
    batch = clips(frames=6)
    tracker = make(gradient_frames=2)
    losses, clip = tracker.losses(batch, step=1)
    assert sum(frame.has_grad for frame in clip.frames) == 2
    assert all(frame.boxes_cxcywh.requires_grad == frame.has_grad for frame in clip.frames)
    chosen = {tuple(f.has_grad for f in tracker.losses(batch, step=step)[1].frames) for step in range(6)}
    assert len(chosen) > 1, "the frames differ between steps"
    everything = make(gradient_frames=9)
    all_losses, _, all_gradients = gradients(everything, batch, step=1)
    _, _, some = gradients(tracker, batch, step=1)
    for name in losses:  # the values do not depend on the frames with gradient
        torch.testing.assert_close(losses[name], all_losses[name])
    name = "detector.backbone.stem.weight"
    assert not torch.allclose(some[name], all_gradients[name])
    torch.testing.assert_close(gradients(make(gradient_frames=6), batch, step=1)[2], all_gradients)


def test_checkpointing_changes_no_result():
    batch = clips()
    plain, _, wanted = gradients(make(), batch)
    saved, _, found = gradients(make(checkpointing=True), batch)
    torch.testing.assert_close(saved, plain)
    torch.testing.assert_close(found, wanted)


def without_objects(batch, frames):
    targets = [
        replace(frame, valid=torch.zeros_like(frame.valid), ids=torch.full_like(frame.ids, -1))
        if time in frames else frame for time, frame in enumerate(batch.targets)
    ]  # fmt: skip
    return replace(batch, targets=tuple(targets))


def without_identities(batch):
    return replace(batch, targets=tuple(replace(f, ids=torch.full_like(f.ids, -1)) for f in batch.targets))


def without_rows(batch):
    empty = FrameTargets(torch.zeros(2, 0, 4).double(), *torch.zeros(2, 2, 0).long(), torch.zeros(2, 0).bool())
    return replace(batch, targets=(empty,) * batch.num_frames)


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: without_objects(batch, {0, 2}),
        lambda batch: without_objects(batch, {0, 1, 2, 3}),
        without_rows,
        lambda batch: replace(batch, targets=(without_rows(batch).targets[0], *batch.targets[1:])),
        lambda batch: clips(objects=(1, 1)),
        lambda batch: clips(frames=1),
        without_identities,
    ],
    ids=["empty frames", "no objects", "no rows", "other sizes", "one object", "one frame", "no identities"],
)  # fmt: skip
def test_degenerate_clips(change):
    losses, _, found = gradients(make(), change(clips()))
    assert all(loss.requires_grad and loss.isfinite() for loss in losses.values())
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert "id_decoder.time_bias" in found
    assert "trajectory_model.ffn.linear1.weight" in found
