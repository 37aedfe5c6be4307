"""Training of LA-MOTR on clips: supervision, terms of the loss, gradients, carried tracks, and learning."""

from dataclasses import replace

import pytest
import torch

from _helpers.trackers.motr_clips import batch_of, follow, merge, seen_clip, tiny_lamotr
from lamotr import LossSettings, SGLASettings, association_loss, association_targets
from lamotr.lightning import LAMOTR
from mot_core.cli.fit.weights import load_weights
from mot_core.nn import inverse_sigmoid, refine_boxes
from mot_core.slots import slot_ids
from mot_core.trackers import DetectorSettings

OBJECTS = 8


def carried(steps):
    """Return the identities carried into each frame, sorted; -1 for tracks without identity."""
    return [sorted(frame.track_ids[frame.is_track].tolist()) for frame, _, _ in steps]


def gradients(tracker, value, parameters):
    tracker.zero_grad()
    value.backward(retain_graph=True)
    return [one.grad is not None and bool(one.grad.any()) for one in parameters]


def test_number_of_parameters():
    """The published 50.29 M trainable parameters; with the update of MeMOTR, those of its 50.13 M are added."""
    with torch.device("meta"):
        trackers = {update: LAMOTR(update=update) for update in ("weighted", "tim")}
    count = {
        name: sum(one.numel() for one in tracker.parameters() if one.requires_grad)
        for name, tracker in trackers.items()
    }
    assert count["weighted"] == 47_044_814 + 3_247_649
    assert round(count["weighted"] / 1e6, 2) == 50.29
    assert count["tim"] - count["weighted"] == 3_089_664


def test_objects_are_detected_again_although_they_are_tracked():
    tracker = tiny_lamotr()
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1, 2], [0, 1, 2]]))
    assert carried(steps) == [[], [0, 1], [0, 1, 2]]
    for time, present in enumerate([[0, 1], [0, 1, 2], [0, 1, 2]]):
        frame, layers, _ = steps[time]
        for layer in layers:
            assert sorted(layer.obj_match[layer.obj_match >= 0].tolist()) == present
        tracks = frame.gt_index[frame.is_track]
        assert sorted(tracks[tracks >= 0].tolist()) == [[], [0, 1], [0, 1, 2]][time]


def test_the_single_decoder_detects_new_objects_only():
    tracker = tiny_lamotr(association="none")
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1, 2]]))
    frame, layers, _ = steps[1]
    matched = frame.gt_index[~frame.is_track]
    assert matched[matched >= 0].tolist() == [2]
    assert layers[-1].score_logits is None


def test_terms_of_the_loss_and_their_weights():
    """Three frames have three detection terms, and two of tracking and association, each with its own weight."""
    tracker = tiny_lamotr()
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1, 2]])
    plain, _ = tracker.losses(batch)
    steps = follow(tracker, batch)
    expected = sum(
        10 * association_loss(parts[-1].score_logits, association_targets(parts[-1].obj_match, parts[-1].tck_match))
        for _, parts, _ in steps[1:]
    )
    assert plain["association"].item() == pytest.approx(expected.item())
    for name in ("detection", "tracking", "association"):
        tracker.loss = LossSettings(**{f"{name}_weight": 3 * getattr(LossSettings(), f"{name}_weight")})
        changed, _ = tracker.losses(batch)
        for key, value in changed.items():
            factor = 3 if key.removeprefix("aux_") == name else 1
            assert value.item() == pytest.approx(factor * plain[key].item(), rel=1e-6), (name, key)


def test_first_boxes_of_the_association_are_those_of_the_decoder():
    tracker = tiny_lamotr()
    seen = []
    tracker.association.sgla.register_forward_hook(lambda module, given, output: seen.append(output))
    frame = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1]]))[1][0]
    raw, last = frame.aux[-1], seen[-1]
    torch.testing.assert_close(last.boxes[0], raw.boxes_cxcywh, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(last.boxes[-1], frame.boxes_cxcywh)
    head = tracker.detector.decoder.box_heads[-1]
    torch.testing.assert_close(refine_boxes(head(frame.embeddings), frame.ref_boxes_cxcywh), frame.boxes_cxcywh)
    assert not any("box_heads" in name or "class_heads" in name for name, _ in tracker.association.named_parameters())


def test_with_zero_init_a_trained_detector_is_unchanged_at_first():
    frame = follow(tiny_lamotr(sgla={"zero_init": True}), seen_clip(tiny_lamotr(), [[0, 1]]))[0][0]
    raw = frame.aux[-1]
    torch.testing.assert_close(frame.embeddings, raw.embeddings)
    torch.testing.assert_close(frame.boxes_cxcywh, raw.boxes_cxcywh, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(frame.logits, raw.logits)


def test_inserted_false_tracks():
    """Every track adds the free detection that overlaps it most, which then has no identity and no object."""
    tracker = tiny_lamotr(insert=1.0)
    steps = follow(tracker, seen_clip(tracker, [[0, 1], [0, 1], [0, 1]]))
    frame, layers, _ = steps[1]
    ids = frame.track_ids[frame.is_track]
    assert sorted(ids[ids >= 0].tolist()) == [0, 1]
    assert len(ids) in (3, 4)
    assert (frame.gt_index[frame.is_track][ids < 0] == -1).all()
    assert (layers[-1].tck_match[0][ids < 0] == -1).all()
    free = steps[0][0].gt_index[0] < 0
    added = steps[0][2].embeddings[0, ids < 0]
    assert all((one == steps[0][0].embeddings[0, free]).all(-1).any() for one in added)
    assert follow(tiny_lamotr(), seen_clip(tracker, [[0, 1], [0, 1]]))[1][0].is_track.sum() == 2


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_of_the_association(detach):
    """The association loss trains the image features; with detached boxes, it does not reach the last box head."""
    tracker = tiny_lamotr(sgla={"detach_boxes": detach})
    losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0, 1]]))
    first = next(tracker.detector.parameters())
    box = tracker.detector.decoder.box_heads[-1].layers[-1].weight
    score = tracker.association.sgla.head.mlp.layers[0].weight
    # Earlier layers' boxes are the references of later ones without gradient, so only SGLA could reach the box head.
    assert gradients(tracker, losses["association"], [first, box, score]) == [True, not detach, True]
    assert gradients(tracker, losses["detection"] + losses["tracking"], [first, box, score]) == [True, True, False]


def test_gradient_reaches_earlier_frames_but_not_through_anchors():
    tracker = tiny_lamotr()
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
    images = batch.images.requires_grad_()
    steps = follow(tracker, batch)
    assert all(not tracks.ref_logits.requires_grad and not tracks.boxes_cxcywh.requires_grad for *_, tracks in steps)
    steps[2][0].boxes_cxcywh[:, OBJECTS:].sum().backward()
    assert all(images.grad[0, time].any() for time in range(3))


@pytest.mark.parametrize("weight", [1.0, 0.9, 0.0])
def test_queries_of_the_next_frame(weight):
    """Eq. 2 with the object of the same identity, and the embedding of the object for a new track."""
    tracker = tiny_lamotr(update_weight=weight, track_threshold=0.0)
    for frame, _, tracks in follow(tracker, seen_clip(tracker, [[0, 1], [0, 1, 2], [0, 1, 2]])):
        ids = [None if one < 0 else one for one in slot_ids(frame, targets_like(frame))[0].tolist()]
        for row, identity in enumerate(tracks.ids[0].tolist()):
            obj, *tck = [slot for slot, one in enumerate(ids) if one == identity]
            expected = frame.embeddings[0, obj]
            if tck:
                expected = weight * frame.embeddings[0, tck[0]] + (1 - weight) * expected
            torch.testing.assert_close(tracks.queries[0, row], expected)
            own = frame.boxes_cxcywh[0, tck[0] if tck else obj]
            torch.testing.assert_close(tracks.ref_logits[0, row], inverse_sigmoid(own))


def targets_like(frame):
    """Return ground truth whose rows are identities, as `seen_clip` orders them."""
    from mot_core.structures import FrameTargets

    count = int(frame.gt_index.max()) + 1
    ids = torch.arange(count)[None]
    return FrameTargets(torch.rand(1, count, 4), torch.zeros_like(ids), ids, ids >= 0)


def test_absent_objects_and_low_scores_keep_query_and_box():
    """With scores below the threshold, a track without object is frozen; its identity lasts with `keep_absent`."""
    tracker = tiny_lamotr(track_threshold=1.0, keep_absent=True)
    batch = seen_clip(tracker, [[0, 1], [0], [0, 1]])
    (_, _, first), (_, _, second), (last, parts, _) = follow(tracker, batch)
    assert first.ids.tolist() == second.ids.tolist() == [[0, 1]]
    assert second.misses.tolist() == [[0, 1]]
    for name in ("queries", "ref_logits", "boxes_cxcywh"):
        assert torch.equal(getattr(first, name)[0, 1], getattr(second, name)[0, 1])
        assert not torch.equal(getattr(first, name)[0, 0], getattr(second, name)[0, 0])
    assert last.gt_index[0, OBJECTS + 1] == 1, "the returning object belongs to its track"
    assert association_targets(parts[-1].obj_match, parts[-1].tck_match).sum() == 2
    without = tiny_lamotr(track_threshold=1.0)
    assert carried(follow(without, batch))[2] == [-1, 0]


def test_exclusion_of_targets():
    """Untrained scores are below 0.5: only targets that overlap their object stay."""
    tracker = tiny_lamotr(exclude="both")
    batch = seen_clip(tracker, [[0, 1], [0, 1], [0, 1]])
    moved = batch.targets[1].boxes_cxcywh.clone()
    moved[0, 0] = torch.tensor([0.9, 0.9, 0.02, 0.02])
    targets = batch.targets[0], replace(batch.targets[1], boxes_cxcywh=moved), batch.targets[2]
    assert carried(follow(tracker, replace(batch, targets=targets)))[2] == [1]


@pytest.mark.parametrize("update", ["weighted", "tan", "tim"])
def test_batch_of_two_clips_matches_single_clips(update):
    """Clips with different numbers of tracks give the same predictions and, weighted by their sizes, losses."""
    tracker = tiny_lamotr(update=update)
    alone = seen_clip(tracker, [[0, 1, 2], [0, 1, 2, 3], [0, 2]], name="one"), seen_clip(tracker, [[4], [], [4]], 2)
    together, separate = follow(tracker, merge(*alone)), [follow(tracker, batch) for batch in alone]
    for time, (frame, parts, _) in enumerate(together):
        pairs = [(steps[time][1][-1].score_logits, steps[time]) for steps in separate]
        for clip, (scores, (own, _, _)) in enumerate(pairs):
            slots = own.valid.shape[1]
            assert torch.equal(frame.gt_index[clip, :slots], own.gt_index[0])
            assert torch.equal(frame.track_ids[clip, :slots], own.track_ids[0])
            torch.testing.assert_close(frame.boxes_cxcywh[clip, :slots], own.boxes_cxcywh[0], rtol=1e-6, atol=1e-7)
            found = parts[-1].score_logits[clip, :, : scores.shape[2]]
            torch.testing.assert_close(found, scores[0], rtol=1e-6, atol=1e-7)
    whole, (first, _), (second, _) = tracker.losses(merge(*alone))[0], *map(tracker.losses, alone)
    sizes = [sum(int(targets.valid.sum()) for targets in batch.targets) for batch in alone]
    for name in ("detection", "tracking", "aux_detection", "aux_tracking"):
        expected = sum(size * one[name] for size, one in zip(sizes, (first, second), strict=True)) / sum(sizes)
        assert whole[name].item() == pytest.approx(expected.item(), rel=1e-6), name


@pytest.mark.parametrize("association", ["sgla", "iou", "feature", "combination", "none"])
@pytest.mark.parametrize("schedule", [[[0]], [[], [], []], [[], [3], [3]], [[2], [], []], [[-1, 4], [4], [-1]]])
def test_empty_frames_and_single_objects(association, schedule):
    tracker = tiny_lamotr(association=association)
    losses, clip = tracker.losses(seen_clip(tracker, schedule))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert len(clip.frames) == len(schedule)
    # Distributed training needs the gradient of every parameter, even without tracks.
    named = tracker.named_parameters()
    assert not [name for name, one in named if one.requires_grad and (one.grad is None or one.grad.isnan().any())]


@pytest.mark.parametrize(("association", "learns"), [("sgla", True), ("feature", True), ("iou", False)])
def test_association_that_learns(association, learns):
    tracker = tiny_lamotr(association=association)
    losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0, 1]]))
    assert losses["association"].requires_grad == learns
    assert (losses["association"].item() > 0) == learns
    if learns:
        losses["association"].backward()
        assert any(one.grad.any() for one in tracker.association.parameters())


@pytest.mark.slow
def test_overfits_a_clip():
    """Detector and association learn three frames, until the scores of all pairs are right."""
    tracker = tiny_lamotr().float()
    batch = seen_clip(tiny_lamotr(), [[0, 1, 2], [0, 1, 2], [1, 2, 3]])
    batch = replace(
        batch, images=batch.images.float(),
        targets=tuple(replace(one, boxes_cxcywh=one.boxes_cxcywh.float()) for one in batch.targets),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(tracker.parameters(), 1e-3)
    right, value = False, 1.0
    for _ in range(300):
        losses, _ = tracker.losses(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(tracker.parameters(), 1.0)
        optimizer.step()
        value = losses["association"].item() / 10 / 2
        if value < 0.02:
            parts = [layers[-1] for _, layers, _ in follow(tracker, batch)][1:]
            targets = [association_targets(one.obj_match, one.tck_match) for one in parts]
            right = all(torch.equal(one.score_logits > 0, target) for one, target in zip(parts, targets, strict=True))
            if right:
                break
    assert value < 0.02
    assert right


def test_weights_of_another_kind_of_association(tmp_path):
    """A detector that was trained with a hand-crafted association starts the learned one, which is new."""
    plain, learned = tiny_lamotr(association="iou"), tiny_lamotr(seed=1)
    content = {"state_dict": plain.state_dict(), "tracker": {"class": "LAMOTR"}}
    torch.save(content, tmp_path / "iou.ckpt")
    before = {name: value.clone() for name, value in learned.state_dict().items()}
    report = load_weights(learned, tmp_path / "iou.ckpt")
    assert all(name.startswith("association.sgla.") for name in report.missing)
    for name, value in learned.state_dict().items():
        assert torch.equal(value, before[name] if name in report.missing else plain.state_dict()[name])


def test_bad_arguments():
    small = DetectorSettings("small", embed_dim=32, num_heads=4)
    with pytest.raises(ValueError, match=r"sgla.embed_dim: expected 32, the channels of the detector, got 64"):
        LAMOTR(small, sgla=SGLASettings(64))
    with pytest.raises(ValueError, match="update: expected weighted or tan or tim, got 'qim'"):
        LAMOTR(small, update="qim")
    with pytest.raises(
        ValueError, match="association: expected sgla or iou or feature or combination or none, got 'x'"
    ):
        LAMOTR(small, association="x")
    with pytest.raises(ValueError, match="clip have no ground truth"):
        tiny_lamotr().losses(batch_of(torch.zeros(1, 2, 3, 64, 96, dtype=torch.float64)))
