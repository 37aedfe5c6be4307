"""Detections of real sequences with the identities of the ground truth, at reduced frame rates."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from mot_core.boxes import pairwise_iou
from mot_core.io import BoxTable, Sequence, find_sequences, make_scene

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MATCH_IOU = 0.5
WEAKEST = 0.1  # detections below it take no part in ByteTrack either
JITTER, MISSED = 0.03, 0.05  # of boxes that stand in for detections, in box sizes; share that is left out

# Written down before anything was tested. No video, and no match of SportsMOT, is in two of them; MOT17 after the
# frames that its detector was trained with, except for training.
SPLITS = {
    "train": {
        "DanceTrack/val": "0005 0010 0014 0025 0041 0063 0079",
        "SportsMOT/train": "1LwtoLPw2TU 1yHWGw8DH4A 2j7kLB-vEEk 4LXTUim5anY CW0mQbgYIF4 Dk3EpDDa3o0 HdiyOtliFiw "
        "dChHNGIfm4Y gQNyhv8y0QY iIxMOsCGH58",
        "MOT17/train": "MOT17-02 MOT17-04",
    },
    "val": {
        "DanceTrack/val": "0030 0065",
        "SportsMOT/train": "-6Os86HzwCs ApPxnw_Jffg",
        "MOT17/train": "MOT17-05",
    },
    "test": {
        "DanceTrack/val": "0004 0018 0035 0047 0077 0090",
        "SportsMOT/val": "v_",
        "MOT17/train": "MOT17-10",
    },
}


@dataclass(frozen=True, eq=False)
class Frame:
    """What is seen in one frame, and what is there.

    Attributes:
        boxes_xyxy: ``(N, 4)`` detections in pixels.
        scores: ``(N,)``.
        identity: ``(N,)`` of the object that each was matched to, -1 for none.
        gt_boxes_xyxy: ``(M, 4)`` objects that count.
        gt_ids: ``(M,)``.
    """

    boxes_xyxy: Floats
    scores: Floats
    identity: Integers
    gt_boxes_xyxy: Floats
    gt_ids: Integers


@dataclass(frozen=True, eq=False)
class Video:
    """A sequence, every ``stride``-th frame of it.

    Attributes:
        name: of the sequence.
        group: its data set.
        stride: frames from one to the next.
        image_size: (height, width).
        frames: in order.
        ground_truth: all rows, frames numbered as in ``frames`` from 1.
    """

    name: str
    group: str
    stride: int
    image_size: tuple[int, int]
    frames: list[Frame]
    ground_truth: BoxTable


def load(root: Path, split: str, strides: tuple[int, ...], most: int) -> list[Video]:
    """The videos of a split, each at every stride, at most ``most`` frames long.

    Args:
        root: the data pack.
        split: a key of ``SPLITS``.
        strides: 1 for the full frame rate.
        most: frames, after leaving out.
    """
    videos = []
    for folder, names in SPLITS[split].items():
        found = find_sequences(root / folder)
        for part in names.split():
            for sequence in [one for one in found if part in one.name]:
                half = folder.startswith("MOT17") and split != "train"
                videos += [read(sequence.half_val() if half else sequence, stride, most) for stride in strides]
    return videos


def synthetic(seeds: range, strides: tuple[int, ...], frames: int) -> list[Video]:
    """Made-up scenes instead, for those who have no data at hand.

    Args:
        seeds: of the scenes.
        strides: as in :func:`load`.
        frames: of a scene at the full frame rate.
    """
    with TemporaryDirectory() as folder:
        for seed in seeds:
            make_scene(seed, num_objects=12, num_frames=frames).save(folder, f"scene{seed}")
        found = find_sequences(folder, benchmark="generic")
        return [read(sequence, stride, frames) for sequence in found for stride in strides]


def read(sequence: Sequence, stride: int, most: int) -> Video:
    """One video. Where a sequence has no detections, its ground truth, jittered, takes their place."""
    numbers = list(sequence.frame_numbers())[::stride][:most]
    truth = sequence.ground_truth()
    counted = truth.select(sequence.rules.counted(truth))
    names = sequence.detection_names()
    chosen = "yolox" if "yolox" in names else (names or [""])[0]
    detections = sequence.detections(chosen) if chosen else _jittered(counted, sequence.name)
    frames = []
    for number in numbers:
        found, there = detections.frame(number), counted.frame(number)
        strong = detections.scores[found] > WEAKEST
        boxes, gt_boxes, gt_ids = detections.boxes_xyxy[found][strong], counted.boxes_xyxy[there], counted.ids[there]
        frames.append(
            Frame(boxes, detections.scores[found][strong], _identify(boxes, gt_boxes, gt_ids), gt_boxes, gt_ids)
        )
    assert sequence.image_size is not None
    return Video(sequence.name, sequence.benchmark, stride, sequence.image_size, frames, _renumber(truth, numbers))


def _identify(boxes: Floats, gt_boxes: Floats, gt_ids: Integers) -> Integers:
    identity = np.full(len(boxes), -1)
    overlap = pairwise_iou(boxes, gt_boxes)
    rows, columns = linear_sum_assignment(-overlap * (overlap >= MATCH_IOU))
    good = overlap[rows, columns] >= MATCH_IOU
    identity[rows[good]] = gt_ids[columns[good]]
    return identity


def _jittered(truth: BoxTable, name: str) -> BoxTable:
    """The same in every run: the name of the sequence is the seed."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kept = truth.select(rng.random(len(truth)) > MISSED)
    size = np.tile(kept.boxes_xyxy[:, 2:] - kept.boxes_xyxy[:, :2], 2)
    boxes = kept.boxes_xyxy + JITTER * size * rng.standard_normal(size.shape)
    return BoxTable(kept.frames, np.full(len(kept), -1), boxes, rng.uniform(0.75, 0.95, len(kept)))


def _renumber(table: BoxTable, numbers: list[int]) -> BoxTable:
    kept = table.select(np.isin(table.frames, numbers))
    frames = np.searchsorted(numbers, kept.frames) + 1
    return BoxTable(frames, kept.ids, kept.boxes_xyxy, kept.scores, kept.classes, kept.visibility)
