"""ByteTrack with YOLOX: training on clips and stills, association, plug-ins, weights and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from _helpers.conformance import check_clip, check_gradient
from _helpers.plugin_cases import PLUGINS
from _helpers.trackers.overfitting import check_overfits_a_clip
from _helpers.trackers.tracker_cases import EAGER, TINY_YOLOX, batches, make, synthetic, trainer
from mot_core.association import ByteTrack
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.nn import DenseOutput
from mot_core.plugins import Plugin
from mot_core.slots import slot_ids, slot_iou
from mot_core.trackers import Tracker, YOLOXByteTrack, YOLOXSettings
from mot_core.trackers.memory import estimate_memory

NAME = "yolox_bytetrack"


def scripted(tracker, boxes, scores):
    """Let the detector return the given boxes (in pixels) and scores, with the box as embedding."""
    logits = torch.tensor(scores, dtype=torch.float64).logit()[None, :, None]
    output = DenseOutput(torch.tensor([boxes], dtype=torch.float64), logits, torch.tensor([boxes]).double())
    tracker.detect = lambda *_: (output, None)


def frames(count=4, **options):
    return list(synthetic(num_val_videos=1, num_frames=count, **options).val_dataloader())


def test_slots_of_a_clip():
    tracker = make(NAME)
    for batch in batches(num_objects=(0, 3)):
        _, clip = tracker.losses(batch)
        check_clip(clip, tracker.spec.capabilities)
        check_gradient(clip, tracker.spec.capabilities, tracker.detector.backbone.stem.conv.weight)
        for frame, truth in zip(clip.frames, batch.targets, strict=True):
            for image in range(len(batch)):
                found = slot_ids(frame, truth)[image]
                expected = truth.ids[image][truth.valid[image]].tolist()
                # Objects share cells only if there are fewer cells than objects nearby.
                assert set(found[found >= 0].tolist()) <= set(expected)
                negatives = (frame.valid[image] & (found < 0)).sum()
                assert negatives <= tracker.extra_negatives
            assert torch.equal(frame.iou, slot_iou(replace(frame, iou=None), truth))


def test_slots_have_the_highest_overlap_of_their_object():
    tracker = make(NAME, extra_negatives=0)
    (batch, *_) = batches()
    torch.manual_seed(1)
    for parameter in tracker.detector.head.box_heads.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    _, clip = tracker.losses(batch)
    output, _ = tracker.detect(batch.images[:, 0], batch.padding, tracker.plugins.start_clip(training=True))
    _, found = tracker.criterion(output, batch.targets[0], batch.image_size)
    frame = clip.frames[0]
    for image, slot in (frame.gt_index >= 0).nonzero().tolist():
        row = frame.gt_index[image, slot]
        best = found.iou[image][found.gt_index[image] == row].max()
        assert frame.iou[image, slot].item() == pytest.approx(best.item(), abs=1e-4)


def test_frames_of_a_clip_equal_single_frames():
    """With group normalization, a clip is as good as its frames one by one."""
    tracker = make(NAME).eval()
    (batch, *_) = batches()
    losses, clip = tracker.losses(batch)
    single = []
    for time in range(batch.num_frames):
        one = replace(
            batch, images=batch.images[:, time : time + 1], times=batch.times[:, time : time + 1],
            targets=batch.targets[time : time + 1],
        )  # fmt: skip
        single += tracker.losses(one)[1].frames
    for frame, other in zip(clip.frames, single, strict=True):
        torch.testing.assert_close(frame.boxes_cxcywh, other.boxes_cxcywh)
        assert torch.equal(frame.gt_index, other.gt_index)
    assert set(losses) == {"box", "object", "class"}


def test_stills_train():
    run = trainer(None, max_epochs=1)
    tracker = make(NAME)
    before = {name: value.clone() for name, value in tracker.named_parameters()}
    run.fit(tracker, synthetic(clip_length=1))
    changed = {name for name, value in tracker.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in changed} == {"backbone", "pyramid", "head"}


@pytest.mark.slow
def test_overfits_a_clip():
    """After training on one clip, its objects are found and keep their identities."""
    torch.manual_seed(0)
    tracker = YOLOXByteTrack(TINY_YOLOX, min_area=0, track_threshold=0.4, birth_threshold=0.5)
    check_overfits_a_clip(tracker, 2e-3, 120)


def test_association_equals_bytetrack():
    """Detections are matched by ByteTrack in pixels of the original image, at real frame numbers."""
    tracker, plain = make(NAME, min_area=0).eval(), ByteTrack(frame_rate=30)
    generator = np.random.default_rng(0)
    size = None
    for number, batch in enumerate(frames(12)):
        if number in (4, 5):
            continue  # frames are missing
        boxes = [[10 + number, 12, 8, 12], [30 - number, 16, 6, 10]][: 1 + number % 3]
        scores = generator.uniform(0.3, 0.95, len(boxes)).tolist()
        scripted(tracker, boxes, scores)
        size = batch.original_size[0] / batch.image_size[0]
        tracks = tracker.track(batch)
        pixels = cxcywh_to_xyxy(torch.tensor(boxes, dtype=torch.float64)) * size.flip(0).repeat(2)
        order = np.argsort(scores)[::-1].copy()
        expected = plain.update(pixels.numpy()[order], np.array(scores)[order], timestamp=int(batch.times[0, 0]) / 30)
        assert tracks.ids.tolist() == (expected.ids - 1).tolist()
        np.testing.assert_allclose(tracks.boxes_xyxy.numpy(), expected.boxes_xyxy, rtol=1e-5)
    assert size is not None


class Swap(Plugin):
    """Plug-in that matches each track to the detection that is not nearest in embedding."""

    name = "swap"
    requires = ("embeddings",)

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_associate(self, frame, tracks, ctx):
        self.seen.append(tracks)
        return torch.cdist(tracks.embeddings, frame.embeddings).clamp(max=1)


def test_a_plugin_replaces_the_cost():
    plugin = Swap()
    tracker = make(NAME, plugin, min_area=0, max_cost=1.0).eval()
    boxes, ids = [[10.0, 12, 8, 12], [30.0, 16, 8, 12]], []
    for batch in frames(3):
        scripted(tracker, boxes, [0.9, 0.9])
        tracks = tracker.track(batch)
        left = tracks.boxes_xyxy[:, 0].argsort()
        ids.append(tracks.ids[left].tolist())
    assert len(plugin.seen) == 2, "the first frame has no tracks"
    first = plugin.seen[0]
    assert first.ids.tolist() == [[0, 1]]
    assert first.misses.tolist() == [[0, 0]]
    torch.testing.assert_close(first.embeddings[0], torch.tensor(boxes, dtype=torch.float64))
    torch.testing.assert_close(
        first.boxes_cxcywh[0], torch.tensor(boxes).double() / torch.tensor([48, 32, 48, 32]), rtol=1e-4, atol=1e-4
    )
    assert len({tuple(row) for row in ids[:2]}) == 2, "identities are swapped"


def test_embeddings_of_lost_tracks_are_those_of_their_last_detection():
    plugin = Swap()
    tracker = make(NAME, plugin, min_area=0).eval()
    for number, batch in enumerate(frames(5)):
        seen = number in (0, 4)
        scripted(tracker, [[10.0 + number, 12, 8, 12]] if seen else [[40.0, 30, 4, 4]], [0.9 if seen else 0.05])
        tracker.track(batch)
    last = plugin.seen[-1]
    assert last.misses.tolist() == [[3]]
    assert last.embeddings[0, 0].tolist() == [10.0, 12, 8, 12]
    assert set(tracker._embeddings) == {1, 2, 3, 4, 5}
    tracker.reset()
    assert not tracker._embeddings


def test_untrained_detectors_track():
    tracker = make(NAME, **EAGER[NAME]).eval()
    for batch in frames(3):
        assert len(tracker.track(batch))
    tracker = make(NAME).eval()
    assert not len(tracker.track(frames(1)[0])), "no detection reaches the default thresholds"


def test_detector_without_embeddings():
    """Plug-ins that can do without embeddings attach; others name the argument to set."""
    settings = YOLOXSettings("micro", norm="group")
    (batch, *_) = batches()
    losses, clip = make(NAME, PLUGINS["unitrack"](preset="paper"), detector=settings).losses(batch)
    assert "unitrack/loss" in losses
    assert clip.frames[0].embeddings is None
    with pytest.raises(ValueError, match=r"plug-in 'fdta_identity' needs embeddings, .*; set model.detector.embed_dim"):
        make(NAME, PLUGINS["fdta_identity"](), detector=settings).setup()


def test_l1_from_an_epoch():
    tracker = make(NAME, l1_epoch=3)
    (batch, *_) = batches()
    assert "l1" not in tracker.losses(batch, epoch=2)[0]
    assert "l1" in tracker.losses(batch, epoch=3)[0]


def test_checkpoint_round_trip(tmp_path):
    tracker = make(NAME)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    run.fit(tracker, synthetic())
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = Tracker.from_checkpoint(tmp_path / "x.ckpt", track_threshold=0.3)
    assert again.association.track_threshold == 0.3
    assert again.association.cost == again._cost
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tracker.state_dict().items())


def test_memory_estimate():
    small, large = (estimate_memory(make(NAME), (side, side), 2) for side in (64, 128))
    assert large.frame / small.frame == pytest.approx(4, rel=0.05)
    assert small.frames_kept == 2


def test_parameter_groups():
    tracker = make(NAME)
    groups = {group["name"]: group for group in tracker.parameter_groups()}
    assert groups["backbone"]["lr"] == pytest.approx(1e-4)
    assert groups["tracker"]["lr"] == pytest.approx(1e-3)
    assert YOLOXByteTrack(TINY_YOLOX).optimizer.backbone_scale == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nms_threshold": 1.5}, "nms_threshold: expected 0 to 1, got 1.5"),
        ({"score_threshold": -1}, "score_threshold: expected 0 to 1"),
        ({"extra_negatives": -1}, "extra_negatives: expected 0 to 100,000"),
        ({"low_threshold": 0.9}, "low_threshold must be at most track_threshold"),
        ({"max_age": -1}, "max_age must be 0 or more frames"),
    ],
)
def test_invalid_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        make(NAME, **options)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "xl"}, "size: expected one of micro, nano, tiny, s, m, l, x, got 'xl'"),
        ({"norm": "layer"}, "norm: expected one of batch, group, got 'layer'"),
        ({"num_classes": 0}, "num_classes: expected 1 to"),
        ({"embed_dim": -1}, "embed_dim: expected 0 to"),
    ],
)
def test_invalid_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        YOLOXSettings(**settings)
