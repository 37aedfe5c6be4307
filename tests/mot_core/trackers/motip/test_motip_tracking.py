"""MOTIP: plug-ins, tracking compared with a reference, weights and arguments."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from _helpers.trackers.motip_clips import SMALL, Scaled, Silent, clips, frames_of, gradients, make, one_clip
from mot_core.nn import IdentityMemory, TrackTokens
from mot_core.plugins import Plugin
from mot_core.trackers import MOTIP, Tracker


def test_inactive_plugin_is_bit_identical():
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


class Refined(Plugin):
    """Plug-in that shrinks boxes and keeps the previous ones as ``aux``."""

    name = "refined"
    requires = ("live_boxes",)

    def on_embeddings(self, frame, ctx):
        return replace(frame, boxes_cxcywh=frame.boxes_cxcywh * 0.9, aux=(frame,))


def test_active_plugins():
    batch = clips()
    plain, clip = make().losses(batch)
    scaled, _ = make(Scaled()).losses(batch)
    assert {name for name in plain if not torch.equal(plain[name], scaled[name])} == {"id"}
    refined, moved = make(Refined()).losses(batch)
    torch.testing.assert_close(refined["aux_class"], plain["aux_class"] + plain["class"])
    torch.testing.assert_close(refined["aux_l1"], plain["aux_l1"] + plain["l1"])
    assert not torch.equal(refined["l1"], plain["l1"]), "losses use the boxes of the plug-in"
    torch.testing.assert_close(moved.frames[0].boxes_cxcywh, 0.9 * clip.frames[0].boxes_cxcywh)


def track_reference(tracker, batch, memory, double_history=1.0):
    """Track one frame with the modules of the tracker."""
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
def test_tracking_matches_a_reference(plugins):
    tracker, batch = make(*plugins(), **THRESHOLDS, min_area=14.0, num_words=6).eval(), clips(1, frames=8)
    with torch.no_grad():
        tracker.id_decoder.embed_to_word.weight.mul_(4)
    memory, seen = IdentityMemory(6, 3, 0.55, 0.02), []
    for frame in frames_of(batch):
        tracks = tracker.track(frame)
        ids, boxes, scores = track_reference(tracker, frame, memory, 2.0 if "scaled" in tracker.plugins else 1.0)
        assert tracks.ids.tolist() == ids
        torch.testing.assert_close(tracks.scores, scores)
        centers = (tracks.boxes_xyxy[:, :2] + tracks.boxes_xyxy[:, 2:]) / 2
        torch.testing.assert_close(centers, boxes[:, :2] * torch.tensor([48.0, 32.0]).double())
        seen.append(ids)
    assert len({one for ids in seen for one in ids}) > 1
    assert any(set(a) & set(b) for a, b in pairwise(seen)), "some identity is seen twice"


def test_new_streams_start_from_scratch():
    tracker, batch = make(**THRESHOLDS).eval(), clips(2)
    first, other = (list(frames_of(one_clip(batch, row))) for row in range(2))
    once = [tracker.track(frame) for frame in first]
    [tracker.track(frame) for frame in other]
    assert tracker.memory.next_identity
    again = [tracker.track(frame) for frame in first]
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.boxes_xyxy, b.boxes_xyxy)
    tracker.reset()
    assert (tracker.memory.words, tracker.memory.next_identity, tracker._seen) == ([], 0, {})


class Shifted(Plugin):
    """Plug-in that associates detections with tracks in reverse order, without the first track."""

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


def test_association_by_a_plugin():
    plugin = Shifted()
    tracker = make(plugin, detection_threshold=0.0, newborn_threshold=0.0, num_words=20).eval()
    stream = list(frames_of(clips(1)))
    first, second = tracker.track(stream[0]), tracker.track(stream[1])
    assert first.ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert second.ids.tolist() == [7, 6, 5, 4, 3, 2, 1, 8], "scores below id_threshold make no pair"
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
    center = (first.boxes_xyxy[0, :2] + first.boxes_xyxy[0, 2:]) / 2
    torch.testing.assert_close(state.boxes_cxcywh[0, 0, :2] * torch.tensor([48, 32]), center)


def test_checkpoint_round_trip(tmp_path):
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


def test_import_of_detector_and_tracker_weights():
    """Model names are kept by the renaming; official names are tested in tests/parity."""
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
            f"detector.class_heads.{n}.{part}" for n in range(2) for part in ("weight", "bias")
        }
        assert set(report.used.values()) | set(report.remade) | set(report.missing) == other.state_dict().keys()
        after = other.state_dict()
        for name in (*report.remade, *report.missing):
            assert torch.equal(before[name], after[name])
        assert torch.equal(after["detector.query_embed.weight"], source.detector.query_embed.weight.float())
    with pytest.raises(ValueError, match="not a Deformable DETR of this architecture"):
        target.import_weights({"query_embed.weight": torch.zeros(8, 64)})


def test_detector_is_clipped_separately():
    tracker = make(Silent())
    detector, rest = tracker.clip_groups()
    assert {id(one) for one in detector} == {id(one) for one in tracker.detector.parameters()}
    assert len(detector) + len(rest) == len(list(tracker.parameters()))
    assert tracker.optimizer.lr == 1e-4
    assert (tracker.optimizer.weight_decay, tracker.optimizer.points_scale) == (5e-4, 0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_words": 0}, "num_words: expected 1 to 1,000,000, got 0"),
        ({"num_words": 10**12}, "num_words: expected 1 to 1,000,000, got 1,000,000,000,000"),
        ({"groups": 0}, "groups: expected 1 to 1,000, got 0"),
        ({"gradient_frames": 0}, "gradient_frames: expected 1 to 1,000,000, got 0"),
        ({"miss_tolerance": 1}, "miss_tolerance: expected at least 2, got 1"),
        ({"id_weight": -1.0}, "id_weight: expected at least 0, got -1.0"),
        ({"id_weight": float("nan")}, "id_weight: expected at least 0, got nan"),
        ({"occlusion": 1.5}, r"occlusion: expected a value in \[0, 1\], got 1.5"),
        ({"id_threshold": -0.1}, r"id_threshold: expected a value in \[0, 1\], got -0.1"),
        ({"id_head_dim": 48}, "embed_dim \\+ word_dim must be a multiple of head_dim, got 64 and 48"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        MOTIP(SMALL, **arguments)
