"""Collation of clips of different sizes into a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mot_core.boxes import xyxy_to_cxcywh
from mot_core.data.image_frame import ImageFrame
from mot_core.structures import ClipBatch, FrameTargets

IMAGE_MEAN = (0.485, 0.456, 0.406)  # statistics of ImageNet, for RGB values in [0, 1]
IMAGE_STD = (0.229, 0.224, 0.225)


def collate(clips: Sequence[Sequence[ImageFrame]]) -> ClipBatch:
    """Collate clips of equal length into a batch.

    Images are normalized with the mean and standard deviation of ImageNet, and padded on the right and bottom. The
    extras of the targets are ``visibility (B, G)``, ``ignore (B, G)`` (regions that are neither object nor background;
    they have a box and are not ``valid``) and, if all frames have depth maps, ``depth (B, 1, H, W)``, 0 where
    padded and NaN where unknown.

    Args:
        clips: Clips of equal length, each a sequence of frames of equal size.

    Returns:
        Batch padded to the largest height and width.

    Raises:
        ValueError: If there are no clips, or they have different lengths.

    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo
    >>> dataset = ClipDataset(SyntheticVideo(num_videos=2, num_frames=10), ClipSampling(4))
    >>> batch = collate([dataset[0], dataset[1]])
    >>> batch.images.shape, len(batch.targets)
    (torch.Size([2, 4, 3, 96, 160]), 4)
    """
    lengths = {len(clip) for clip in clips}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"clips: expected clips of equal length of at least 1 frame, got lengths {[len(clip) for clip in clips]}"
        )
    sizes = [clip[0].image_size for clip in clips]
    height, width = (max(side) for side in zip(*sizes, strict=True))
    images = torch.zeros(len(clips), lengths.pop(), 3, height, width)
    padding = torch.ones(len(clips), height, width, dtype=torch.bool)
    for clip, (h, w), target, pad in zip(clips, sizes, images, padding, strict=True):
        pad[:h, :w] = False
        _normalize(clip, target[:, :, :h, :w])
    return ClipBatch(
        images=images,
        padding=padding,
        image_size=torch.tensor(sizes),
        original_size=torch.tensor([clip[0].original_size for clip in clips]),
        times=torch.tensor([[frame.number for frame in clip] for clip in clips]),
        sequences=tuple(clip[0].sequence for clip in clips),
        targets=tuple(_targets(frames, (height, width)) for frames in zip(*clips, strict=True)),
    )


def _normalize(clip: Sequence[ImageFrame], out: Tensor) -> None:
    """Write the images of a clip into ``out (T, 3, h, w)``: (value / 255 - mean) / std."""
    mean, std = (255 * torch.tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    for frame, image in zip(clip, out, strict=True):
        image.copy_(torch.from_numpy(np.array(frame.image)).permute(2, 0, 1))
    out.sub_(mean).div_(std)


def _targets(frames: Sequence[ImageFrame], size: tuple[int, int]) -> FrameTargets:
    count = max(len(frame.ids) for frame in frames)
    shape = (len(frames), count)
    boxes = torch.zeros(*shape, 4)
    labels, ids = torch.zeros(shape, dtype=torch.int64), torch.full(shape, -1)
    valid, ignore = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    visibility = torch.zeros(shape)
    for row, frame in enumerate(frames):
        n = len(frame.ids)
        height, width = frame.image_size
        scale = np.array([width, height, width, height], np.float64)
        boxes[row, :n] = torch.from_numpy(np.asarray(xyxy_to_cxcywh(frame.boxes_xyxy / scale)))
        labels[row, :n] = torch.from_numpy(frame.labels)
        ids[row, :n] = torch.from_numpy(np.where(frame.ignore, -1, frame.ids))
        ignore[row, :n] = torch.from_numpy(frame.ignore)
        valid[row, :n] = ~ignore[row, :n]
        visibility[row, :n] = torch.from_numpy(frame.visibility)
    extras = {"visibility": visibility, "ignore": ignore}
    if all(frame.depth is not None for frame in frames):
        depth = torch.zeros(len(frames), 1, *size)
        for row, frame in enumerate(frames):
            height, width = frame.image_size
            depth[row, 0, :height, :width] = torch.from_numpy(np.array(frame.depth))
        extras["depth"] = depth
    return FrameTargets(boxes, labels, ids, valid, extras)
