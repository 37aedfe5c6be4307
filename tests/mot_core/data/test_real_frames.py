"""Batches of real frames: PETS09-S2L1 and the fly clip."""

import pytest
import torch

from mot_core.boxes import cxcywh_to_xyxy
from mot_core.data import Augmentation, MOTDataModule

AUGMENTATION = Augmentation(
    short_sides=(320, 400), max_long_side=600, flip=0.5, crop=0.5, crop_short_sides=(300, 400), crop_sides=(200, 380)
)
SEQUENCES = [("MOT15/train/PETS09-S2L1", "MOT15", 795), ("flies/fly-clip", "generic", 1500)]


def module(mot_data, folder, benchmark, **arguments):
    path = mot_data / folder
    return MOTDataModule(path, path, benchmark=benchmark, clip_length=4, max_interval=10, **arguments)


@pytest.mark.parametrize(("folder", "benchmark", "frames"), SEQUENCES)
def test_all_frames_are_loaded(mot_data, folder, benchmark, frames):
    data = module(mot_data, folder, benchmark)
    assert len(data.train_dataloader()) == frames - 3
    assert len(data.val_dataloader()) == frames
    halves = module(mot_data, folder, benchmark, split="half")
    assert len(halves.train_dataloader()) + 3 + len(halves.val_dataloader()) == frames


def test_number_of_scored_boxes(mot_data):
    for folder, benchmark, count in ((*SEQUENCES[0][:2], 4476), (*SEQUENCES[1][:2], 3000)):
        source = module(mot_data, folder, benchmark).source("train")
        assert (~source.ignore).sum() == count


@pytest.mark.parametrize(("folder", "benchmark"), [row[:2] for row in SEQUENCES])
def test_boxes_match_the_objects(mot_data, folder, benchmark):
    """People are darker, and flies brighter, than the surrounding ground; augmentation keeps that."""
    sign = -1 if "PETS" in folder else 1
    data = module(mot_data, folder, benchmark, augmentation=AUGMENTATION, batch_size=4)
    right, total = 0, 0
    for batch, _ in zip(data.train_dataloader(), range(6), strict=False):
        grey = batch.images.mean(2)
        for t, targets in enumerate(batch.targets):
            for b in range(len(batch)):
                height, width = batch.image_size[b].tolist()
                boxes = cxcywh_to_xyxy(targets.boxes_cxcywh[b, targets.valid[b]])
                pixels = (boxes * torch.tensor([width, height] * 2)).round().int()
                for x0, y0, x1, y1 in pixels.tolist():
                    pad = x1 - x0
                    inner = grey[b, t, y0:y1, x0:x1]
                    outer = grey[b, t, y0:y1, max(x0 - pad, 0) : min(x1 + pad, width)]
                    if min(inner.shape) > 3 and outer.shape[1] > 2 * inner.shape[1]:
                        right += sign * (inner.mean() - outer.mean()).item() > 0
                        total += 1
    assert total > 100
    assert right / total > 0.8
