from dataclasses import replace

import numpy as np
import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy
from mot_core.data import IMAGE_MEAN, IMAGE_STD, ImageFrame, SyntheticVideo, collate


def clips(count=2, length=3, **arguments):
    """Return clips of different sizes and numbers of objects."""
    made = []
    for number in range(count):
        video = SyntheticVideo(
            1, length, (48 + 10 * number, 80 - 15 * number), (2 + 2 * number, 2 + 2 * number), seed=number, **arguments
        )
        made.append(video.read(0, range(length)))
    return made


def test_images_and_boxes_match_the_frames():
    given = clips()
    batch = collate(given)
    assert batch.images.dtype == torch.float32
    assert batch.images.shape == (2, 3, 3, 58, 80)
    assert batch.image_size.tolist() == batch.original_size.tolist() == [[48, 80], [58, 65]]
    assert batch.times.tolist() == [[1, 2, 3]] * 2
    assert batch.sequences == ("synthetic-train-0-0", "synthetic-train-1-0")
    for b, clip in enumerate(given):
        height, width = clip[0].image_size
        for t, frame in enumerate(clip):
            pixels = batch.images[b, t, :, :height, :width] * torch.tensor(IMAGE_STD).view(3, 1, 1)
            pixels = (pixels + torch.tensor(IMAGE_MEAN).view(3, 1, 1)) * 255
            np.testing.assert_allclose(pixels.permute(1, 2, 0), frame.image, atol=1e-3)
            targets = batch.targets[t]
            rows = targets.valid[b]
            boxes = cxcywh_to_xyxy(targets.boxes_cxcywh[b, rows]) * torch.tensor([width, height, width, height])
            np.testing.assert_allclose(boxes, frame.boxes_xyxy[~frame.ignore], atol=1e-4)
            assert targets.ids[b, rows].tolist() == frame.ids[~frame.ignore].tolist()


def test_padding_is_zero_and_masked():
    batch = collate(clips(with_depth=True))
    padding = batch.padding
    assert padding[0, 48:].all()
    assert not padding[0, :48].any()
    assert padding[1, :, 65:].all()
    assert not padding[1, :, :65].any()
    for t in range(3):
        assert not batch.images[:, t].permute(0, 2, 3, 1)[padding].any()
        assert not batch.targets[t].extras["depth"][:, 0][padding].any()
        rest = ~batch.targets[t].valid & ~batch.targets[t].extras["ignore"]
        assert (batch.targets[t].ids[rest] == -1).all()
        assert not batch.targets[t].boxes_cxcywh[rest].any()


def test_clips_do_not_depend_on_their_batch():
    one, other = clips()
    alone, together = collate([one]), collate([one, other])
    assert torch.equal(together.images[:1, :, :, :48, :80], alone.images)
    for a, b in zip(alone.targets, together.targets, strict=True):
        assert torch.equal(a.boxes_cxcywh, b.boxes_cxcywh[:1, : a.ids.shape[1]])


def test_ignored_regions():
    (clip,) = clips(1)
    frame = replace(clip[0], ignore=np.array([True] + [False] * (len(clip[0].ids) - 1)))
    targets = collate([[frame]]).targets[0]
    assert targets.extras["ignore"][0, 0]
    assert not targets.valid[0, 0]
    assert targets.ids[0, 0] == -1
    assert targets.boxes_cxcywh[0, 0].any()


def test_frames_without_objects():
    (clip,) = clips(1)
    empty = [frame.select(slice(0, 0)) for frame in clip]
    assert collate([empty]).targets[2].boxes_cxcywh.shape == (1, 0, 4)
    batch = collate([empty, clip])
    assert batch.targets[0].valid.sum(1).tolist() == [0, (~clip[0].ignore).sum()]


def test_large_ids_are_exact():
    (clip,) = clips(1, 1)
    big = 2**53 + 1
    frame = replace(clip[0], ids=np.full(len(clip[0].ids), big), ignore=np.zeros(len(clip[0].ids), bool))
    assert (collate([[frame]]).targets[0].ids == big).all()


def test_clips_of_different_or_zero_length_are_rejected():
    (clip,) = clips(1)
    for wrong, lengths in (([], r"\[\]"), ([[]], r"\[0\]"), ([clip, clip[:2]], r"\[3, 2\]")):
        with pytest.raises(ValueError, match=rf"clips of equal length of at least 1 frame, got lengths {lengths}"):
            collate(wrong)


def test_moving_a_batch_to_a_device():
    moved = collate(clips(with_depth=True)).to("meta")
    assert {getattr(moved, name).device.type for name in moved.SHAPES} == {"meta"}
    assert moved.targets[1].extras["depth"].device.type == "meta"


def test_depth_requires_depth_maps_of_all_frames():
    (with_depth,), (without,) = clips(1, with_depth=True), clips(1)
    assert isinstance(with_depth[0], ImageFrame)
    assert "depth" not in collate([with_depth, without]).targets[0].extras
