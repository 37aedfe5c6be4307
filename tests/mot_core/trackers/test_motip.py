"""MOTIP on small clips: its losses by loops, batches, gradients, plug-ins, and tracking by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.nn import IdentityMemory, TrackTokens
from mot_core.plugins import Plugin
from mot_core.slots import slot_ids, slot_iou
from mot_core.structures import FrameTargets
from mot_core.trackers import MOTIP, DetectorSettings, Tracker
from mot_core.trackers.identity_labels import draw_labels

SMALL = DetectorSettings(
    "small", num_queries=8, embed_dim=32, num_heads=4, ffn_dim=32, num_levels=3, num_encoder_layers=1,
    num_decoder_layers=2,
)  # fmt: skip


def make(*plugins, detector=SMALL, **arguments):
    """A small one in double precision, which sees more than one object in its random state."""
    torch.manual_seed(0)
    tracker = MOTIP(detector, **({"id_layers": 2, "id_head_dim": 16, "groups": 2} | arguments)).double()
    with torch.no_grad():
        for head in tracker.detector.class_heads:
            head.bias.zero_()
            head.weight.mul_(3)
        for head in tracker.detector.decoder.box_heads:
            list(head.parameters())[-2].normal_(std=0.3)
    for plugin in plugins:
        tracker.attach(plugin.double())
    return tracker


def clips(count=2, frames=4, objects=(2, 4), **arguments):
    source = SyntheticVideo(num_videos=4, num_frames=frames, image_size=(32, 48), num_objects=objects, **arguments)
    dataset = ClipDataset(source, ClipSampling(frames))
    return double(collate([dataset[index] for index in range(count)]))


def double(batch):
    targets = [replace(frame, boxes_cxcywh=frame.boxes_cxcywh.double()) for frame in batch.targets]
    return replace(batch, images=batch.images.double(), targets=tuple(targets))


def one_clip(batch, row):
    def pick(value):
        return value[row : row + 1]

    targets = [
        FrameTargets(
            pick(frame.boxes_cxcywh), pick(frame.labels), pick(frame.ids), pick(frame.valid),
            {name: pick(value) for name, value in frame.extras.items()},
        )
        for frame in batch.targets
    ]  # fmt: skip
    names = ("images", "padding", "image_size", "original_size", "times", "sequences")
    return replace(batch, **{name: pick(getattr(batch, name)) for name in names}, targets=tuple(targets))


def frames_of(batch):
    """A stream: the frames of the first clip one by one."""
    clip = one_clip(batch, 0)
    for time in range(clip.num_frames):
        now = slice(time, time + 1)
        yield replace(clip, images=clip.images[:, now], times=clip.times[:, now], targets=clip.targets[now])


def gradients(tracker, batch, step=0):
    tracker.zero_grad()
    losses, clip = tracker.losses(batch, step=step)
    sum(losses.values()).backward()
    return losses, clip, {name: one.grad for name, one in tracker.named_parameters() if one.grad is not None}


def words_by_loops(tracker, clip, batch, step):
    """Sum of the cross-entropies and number of detections that count, clip by clip and group by group."""
    total, count = 0.0, 0
    newborn = tracker.id_decoder.newborn
    for row, (sequence, times) in enumerate(zip(batch.sequences, batch.times.tolist(), strict=True)):
        matched = [
            {int(one): frame.embeddings[row, slot] for slot, one in enumerate(slot_ids(frame, truth)[row]) if one >= 0}
            for frame, truth in zip(clip.frames, clip.targets, strict=True)
        ]
        everyone = sorted(set().union(*matched))
        present = torch.tensor([[one in frame for frame in matched] for one in everyone]).reshape(-1, len(matched))
        labels = draw_labels(
            present, newborn, tracker.groups, tracker.generator(step, sequence, times), tracker.occlusion,
            tracker.switch,
        )  # fmt: skip
        for group in range(tracker.groups):
            tokens = []  # of the history: time, word, embedding
            for time in range(len(matched)):
                asked = [n for n in range(len(everyone)) if labels.current_valid[group, time, n]]
                if time and asked:
                    width = tracker.detector.embed_dim
                    known = [embedding for _, _, embedding in tokens]
                    history = TrackTokens(
                        torch.stack(known)[None, None] if known else torch.zeros(1, 1, 0, width).double(),
                        torch.ones(1, 1, len(tokens), dtype=torch.bool),
                        torch.tensor([at for at, _, _ in tokens], dtype=torch.int64)[None, None],
                        torch.tensor([word for _, word, _ in tokens], dtype=torch.int64)[None, None],
                    )
                    if not known:  # at least one token, though it is not valid
                        nobody = torch.zeros(1, 1, 1, dtype=torch.int64)
                        history = TrackTokens(torch.zeros(1, 1, 1, width).double(), nobody > 0, nobody, nobody)
                    now = torch.full((1, 1, len(asked)), time)
                    current = torch.stack([matched[time][everyone[n]] for n in asked])[None, None]
                    history = replace(history, embeddings=tracker.trajectory_model(history.embeddings))
                    logits = tracker.id_decoder(history, TrackTokens(current, now >= 0, now))[0, 0]
                    right = [int(labels.answers[group, time, n]) for n in asked]
                    total += sum(-answer.log_softmax(-1)[word] for answer, word in zip(logits, right, strict=True))
                    count += len(asked)
                for n in range(len(everyone)):
                    if labels.history_valid[group, time, n]:
                        whose = everyone[int(labels.source[group, time, n])]
                        tokens.append((time, int(labels.words[group, n]), matched[time][whose]))
    return total, count


@pytest.mark.parametrize("num_words", [50, 2])
def test_loss_of_words_by_loops(num_words):
    tracker, batch = make(num_words=num_words, id_weight=0.5, groups=3), clips(frames=5)
    losses, clip = tracker.losses(batch, step=3)
    total, count = words_by_loops(tracker, clip, batch, step=3)
    assert count > 10
    torch.testing.assert_close(losses["id"], 0.5 * total / count)
    wanted = torch.autograd.grad(0.5 * total / count, tracker.id_decoder.word_to_embed.weight, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(losses["id"], tracker.id_decoder.word_to_embed.weight), wanted)


def test_losses_of_detection_by_frames():
    """Sums over all frames, divided by the objects of the whole clip."""
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


def test_two_clips_are_twice_one():
    """Boxes and words are counted over the batch; what is drawn for a clip does not depend on its neighbour."""
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


def test_padded_objects_and_pixels_do_not_count():
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
    assert len(chosen) > 1, "others in every step"
    everything = make(gradient_frames=9)
    all_losses, _, all_gradients = gradients(everything, batch, step=1)
    _, _, some = gradients(tracker, batch, step=1)
    for name in losses:  # which frames train decides no value
        torch.testing.assert_close(losses[name], all_losses[name])
    name = "detector.backbone.stem.weight"
    assert not torch.allclose(some[name], all_gradients[name])
    torch.testing.assert_close(gradients(make(gradient_frames=6), batch, step=1)[2], all_gradients)


def test_checkpointing_changes_nothing():
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


def nothing_to_see(batch):
    empty = FrameTargets(torch.zeros(2, 0, 4).double(), *torch.zeros(2, 2, 0).long(), torch.zeros(2, 0).bool())
    return replace(batch, targets=(empty,) * batch.num_frames)


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: without_objects(batch, {0, 2}),
        lambda batch: without_objects(batch, {0, 1, 2, 3}),
        nothing_to_see,
        lambda batch: replace(batch, targets=(nothing_to_see(batch).targets[0], *batch.targets[1:])),
        lambda batch: clips(objects=(1, 1)),
        lambda batch: clips(frames=1),
        without_identities,
    ],
    ids=["empty frames", "no objects", "no rows", "other sizes", "one object", "one frame", "no identities"],
)  # fmt: skip
def test_clips_with_little_in_them(change):
    losses, _, found = gradients(make(), change(clips()))
    assert all(loss.requires_grad and loss.isfinite() for loss in losses.values())
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert "id_decoder.time_bias" in found
    assert "trajectory_model.ffn.linear1.weight" in found


class Silent(Plugin):
    """Calls every hook and changes nothing; its loss has no weight."""

    name = "silent"
    requires = ("features", "decoder_layer", "embeddings", "live_boxes", "ids", "box_head")

    def __init__(self):
        super().__init__(weight=0)
        self.calls = []

    def on_features(self, features, ctx):
        rows = None if ctx.targets is None else len(ctx.targets.ids)
        self.calls.append(("features", ctx.frame, len(features.levels[0]), rows, ctx.has_grad))
        return features

    def on_decoder_layer(self, layer, hidden, ctx):
        torch.rand(3)
        return hidden

    def on_embeddings(self, frame, ctx):
        self.calls.append(("embeddings", ctx.frame, ctx.has_grad, frame.has_grad))
        return replace(frame)

    def on_associate(self, frame, tracks, ctx):
        self.calls.append(("associate", ctx.frame, tracks, frame))

    def on_tracks_update(self, frame, tracks, ctx):
        self.calls.append(("history", frame, tracks))
        return replace(tracks)

    def on_clip_loss(self, clip, ctx):
        return {"boxes": clip.frames[0].boxes_cxcywh.sum() + sum(f.embeddings.sum() for f in clip.frames)}


def test_a_plugin_that_does_nothing_changes_no_bit():
    batch, silent = clips(frames=5), Silent()
    plain, gated = make(gradient_frames=2), make(silent, gradient_frames=2)
    losses, clip, wanted = gradients(plain, batch)
    with_plugin, other, found = gradients(gated, batch)
    assert with_plugin.pop("silent/boxes") == 0
    assert all(torch.equal(losses[name], with_plugin[name]) for name in losses)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert all(torch.equal(a.boxes_cxcywh, b.boxes_cxcywh) for a, b in zip(clip.frames, other.frames, strict=True))
    assert plain.state_dict().keys() == gated.state_dict().keys()
    calls = [call for call in silent.calls if call[0] == "features"]
    assert calls == [("features", n, 4 - 2 * (n == 2), 4 - 2 * (n == 2), n == 0) for n in range(3)]
    live = [frame.has_grad for frame in clip.frames]
    assert [call for call in silent.calls if call[0] == "embeddings"] == [
        ("embeddings", n, live[n], live[n]) for n in range(5)
    ]
    (_, frame, tracks), = [call for call in silent.calls if call[0] == "history"]  # fmt: skip
    assert frame is None
    assert tracks.history.shape[:1] + tracks.history.shape[2:] == (4, 5, 32)
    assert (tracks.history[~tracks.history_valid] == 0).all()
    assert tracks.history.shape[:2] == tracks.ids.shape


class Scaled(Plugin):
    """Changes the histories: embeddings twice as long."""

    name = "scaled"
    requires = ("embeddings",)

    def on_tracks_update(self, frame, tracks, ctx):
        return replace(tracks, history=2 * tracks.history)


class Refined(Plugin):
    """Moves boxes and keeps what was there before."""

    name = "refined"
    requires = ("live_boxes",)

    def on_embeddings(self, frame, ctx):
        return replace(frame, boxes_cxcywh=frame.boxes_cxcywh * 0.9, aux=(frame,))


def test_plugins_that_change_something():
    batch = clips()
    plain, clip = make().losses(batch)
    scaled, _ = make(Scaled()).losses(batch)
    assert {name for name in plain if not torch.equal(plain[name], scaled[name])} == {"id"}
    refined, moved = make(Refined()).losses(batch)
    torch.testing.assert_close(refined["aux_class"], plain["aux_class"] + plain["class"])
    torch.testing.assert_close(refined["aux_l1"], plain["aux_l1"] + plain["l1"])
    assert not torch.equal(refined["l1"], plain["l1"]), "the losses are those of what the plug-in made of it"
    torch.testing.assert_close(moved.frames[0].boxes_cxcywh, 0.9 * clip.frames[0].boxes_cxcywh)


def by_hand(tracker, batch, memory, double_history=1.0):
    """One frame with the parts of the tracker."""
    output = tracker.detector(batch.images[:, 0], batch.padding)
    scores, boxes, hidden = output.logits[-1, 0, :, 0].sigmoid(), output.boxes_cxcywh[-1, 0], output.hidden[-1, 0]
    height, width = batch.original_size[0].tolist()
    pixels = boxes[:, 2] * width * boxes[:, 3] * height
    kept = [n for n in range(len(scores)) if scores[n] > tracker.detection_threshold and pixels[n] > tracker.min_area]
    logits, history = None, memory.tokens()
    if history is not None and kept:
        now = torch.full((1, 1, len(kept)), history.times.shape[1])
        modelled = replace(history, embeddings=tracker.trajectory_model(double_history * history.embeddings))
        logits = tracker.id_decoder(modelled, TrackTokens(hidden[kept][None, None], now >= 0, now))[0, 0]
    ids = memory.update(hidden[kept], scores[kept], logits)
    reported = [(int(one), n) for one, n in zip(ids, kept, strict=True) if one >= 0]
    rows = [n for _, n in reported]
    return [one for one, _ in reported], boxes[rows], scores[rows]


THRESHOLDS = {"detection_threshold": 0.5, "newborn_threshold": 0.55, "id_threshold": 0.02, "miss_tolerance": 4}


@pytest.mark.parametrize("plugins", [list, lambda: [Silent()], lambda: [Scaled()]])
@torch.no_grad()
def test_tracking_by_hand(plugins):
    tracker, batch = make(*plugins(), **THRESHOLDS, min_area=14.0, num_words=6).eval(), clips(1, frames=8)
    with torch.no_grad():
        tracker.id_decoder.embed_to_word.weight.mul_(4)
    memory, seen = IdentityMemory(6, 3, 0.55, 0.02), []
    for frame in frames_of(batch):
        tracks = tracker.track(frame)
        ids, boxes, scores = by_hand(tracker, frame, memory, 2.0 if "scaled" in tracker.plugins else 1.0)
        assert tracks.ids.tolist() == ids
        torch.testing.assert_close(tracks.scores, scores)
        centres = (tracks.boxes_xyxy[:, :2] + tracks.boxes_xyxy[:, 2:]) / 2
        torch.testing.assert_close(centres, boxes[:, :2] * torch.tensor([48.0, 32.0]).double())
        seen.append(ids)
    assert len({one for ids in seen for one in ids}) > 1
    assert any(set(a) & set(b) for a, b in pairwise(seen)), "somebody is seen twice"


def test_streams_begin_anew():
    tracker, batch = make(**THRESHOLDS).eval(), clips(2)
    first, other = (list(frames_of(one_clip(batch, row))) for row in range(2))
    once = [tracker.track(frame) for frame in first]
    [tracker.track(frame) for frame in other]
    assert tracker.memory.next_identity
    again = [tracker.track(frame) for frame in first]
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.boxes_xyxy, b.boxes_xyxy)
    tracker.forget()
    assert (tracker.memory.words, tracker.memory.next_identity, tracker._seen) == ([], 0, {})


class Shifted(Plugin):
    """Says that the detections are the tracks in reverse order, except the first track, which is gone."""

    name = "shifted"
    requires = ("embeddings",)
    states = ()

    def on_associate(self, frame, tracks, ctx):
        self.states = (*self.states, tracks)
        found = frame.valid.shape[1]
        scores = torch.full((1, tracks.ids.shape[1], found), 0.1).double()
        for track in range(1, min(tracks.ids.shape[1], found)):
            scores[0, track, found - 1 - track] = 0.9
        return scores


def test_a_plugin_associates():
    plugin = Shifted()
    tracker = make(plugin, detection_threshold=0.0, newborn_threshold=0.0, num_words=20).eval()
    stream = list(frames_of(clips(1)))
    first, second = tracker.track(stream[0]), tracker.track(stream[1])
    assert first.ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert second.ids.tolist() == [7, 6, 5, 4, 3, 2, 1, 8], "below id_threshold is no pair"
    (state,) = plugin.states
    assert torch.equal(state.ids, first.ids[None])
    assert torch.equal(state.scores, first.scores[None])
    assert torch.equal(state.misses, torch.zeros(1, 8).long())
    assert torch.equal(state.history[:, :, -1], state.embeddings)
    tracker.track(stream[2])
    (_, state) = plugin.states
    assert state.ids.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8]]
    assert state.misses.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert torch.equal(state.scores[0, 0], first.scores[0])
    centre = (first.boxes_xyxy[0, :2] + first.boxes_xyxy[0, 2:]) / 2
    torch.testing.assert_close(state.boxes_cxcywh[0, 0, :2] * torch.tensor([48, 32]), centre)


def test_checkpoints(tmp_path):
    tracker = MOTIP(SMALL, id_layers=2, id_head_dim=16, num_words=7, detection_threshold=0.0, newborn_threshold=0.0)
    content = {"state_dict": tracker.state_dict()}
    tracker.on_save_checkpoint(content)
    torch.save(content, tmp_path / "one.ckpt")
    read = Tracker.from_checkpoint(tmp_path / "one.ckpt")
    assert isinstance(read, MOTIP)
    assert read.memory.num_words == 7
    for frame in frames_of(clips(1)):
        frame = replace(frame, images=frame.images.float())
        one, other = tracker.eval().track(frame), read.track(frame)
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)


def test_weights_of_a_detector_and_of_a_whole():
    """Our own names pass the renaming as they are; the official ones are in tests/parity."""
    source, target = make(), MOTIP(SMALL, id_layers=2, id_head_dim=16)
    whole = {name.replace("detector.", "detr.", 1): value for name, value in source.state_dict().items()}
    report = target.import_weights(whole)
    assert (report.unused, report.missing, report.remade) == ({}, (), {})
    assert set(report.used.values()) == target.state_dict().keys()
    assert all(
        torch.equal(a, b.float())
        for a, b in zip(target.state_dict().values(), source.state_dict().values(), strict=True)
    )
    for prefix in ("", "detr."):
        other = MOTIP(replace(SMALL, num_classes=2), id_layers=2, id_head_dim=16)
        before = {name: value.clone() for name, value in other.state_dict().items()}
        parts = {f"{prefix}{name}": value for name, value in source.detector.state_dict().items()}
        report = other.import_weights(parts)
        assert set(report.remade) == {
            f"detector.class_heads.{n}.{what}" for n in range(2) for what in ("weight", "bias")
        }
        assert set(report.used.values()) | set(report.remade) | set(report.missing) == other.state_dict().keys()
        after = other.state_dict()
        for name in (*report.remade, *report.missing):
            assert torch.equal(before[name], after[name])
        assert torch.equal(after["detector.query_embed.weight"], source.detector.query_embed.weight.float())
    with pytest.raises(ValueError, match="not a Deformable DETR of this architecture"):
        target.import_weights({"query_embed.weight": torch.zeros(8, 64)})


def test_detector_and_the_rest_are_clipped_separately():
    tracker = make(Silent())
    detector, rest = tracker.clip_groups()
    assert {id(one) for one in detector} == {id(one) for one in tracker.detector.parameters()}
    assert len(detector) + len(rest) == len(list(tracker.parameters()))
    assert tracker.optimizer.lr == 1e-4
    assert (tracker.optimizer.weight_decay, tracker.optimizer.points_scale) == (5e-4, 0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_words": 0}, "num_words must be at least 1, got 0"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"gradient_frames": 0}, "gradient_frames must be at least 1, got 0"),
        ({"miss_tolerance": 1}, "miss_tolerance must be at least 2, got 1"),
        ({"id_weight": -1.0}, "id_weight must be at least 0, got -1.0"),
        ({"id_weight": float("nan")}, "id_weight must be at least 0, got nan"),
        ({"occlusion": 1.5}, "occlusion must be from 0 to 1, got 1.5"),
        ({"id_threshold": -0.1}, "id_threshold must be from 0 to 1, got -0.1"),
        ({"id_head_dim": 48}, "embed_dim \\+ word_dim must be a multiple of head_dim, got 64 and 48"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        MOTIP(SMALL, **arguments)
