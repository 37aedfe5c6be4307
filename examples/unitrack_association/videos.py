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
WEAKEST = 0.1  # ByteTrack ignores detections below this score too
JITTER, MISSED = 0.03, 0.05  # jitter in box sizes and share of misses for sequences without detections

# Fixed before the first test. Splits share no video and no SportsMOT match; except for training, MOT17 starts after the
# frames that its detector was trained on.
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
    """Detections and ground truth of one frame.

    Attributes:
        boxes_xyxy: Detections in pixels, ``(N, 4)``.
        scores: Detection scores, ``(N,)``.
        identity: Identity of the object matched to each detection, ``(N,)``, -1 for none.
        gt_boxes_xyxy: Evaluated objects in pixels, ``(M, 4)``.
        gt_ids: Identities of the objects, ``(M,)``.
    """

    boxes_xyxy: Floats
    scores: Floats
    identity: Integers
    gt_boxes_xyxy: Floats
    gt_ids: Integers


@dataclass(frozen=True, eq=False)
class Video:
    """Every ``stride``-th frame of a sequence.

    Attributes:
        name: Name of the sequence.
        group: Name of the data set.
        stride: Step between frames.
        image_size: Image height and width in pixels.
        frames: Frames in order.
        ground_truth: Ground truth with frames numbered from 1 as in ``frames``.
    """

    name: str
    group: str
    stride: int
    image_size: tuple[int, int]
    frames: list[Frame]
    ground_truth: BoxTable


def load(root: Path, split: str, strides: tuple[int, ...], most: int) -> list[Video]:
    """Load the videos of a split, each at every stride.

    Args:
        root: Folder with all data sets.
        split: Name of the split, a key of ``SPLITS``.
        strides: Steps between frames; 1 is the full frame rate.
        most: Maximum number of frames per video, after subsampling.
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
    """Create videos of synthetic scenes, which need no data.

    Args:
        seeds: Seeds of the scenes.
        strides: Steps between frames; see :func:`load`.
        frames: Number of frames per scene at the full frame rate.
    """
    with TemporaryDirectory() as folder:
        for seed in seeds:
            make_scene(seed, num_objects=12, num_frames=frames).save(folder, f"scene{seed}")
        found = find_sequences(folder, benchmark="generic")
        return [read(sequence, stride, frames) for sequence in found for stride in strides]


def read(sequence: Sequence, stride: int, most: int) -> Video:
    """Read one video; jittered ground truth replaces missing detections."""
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
    """Create reproducible detections from ground truth, seeded by the sequence name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kept = truth.select(rng.random(len(truth)) > MISSED)
    size = np.tile(kept.boxes_xyxy[:, 2:] - kept.boxes_xyxy[:, :2], 2)
    boxes = kept.boxes_xyxy + JITTER * size * rng.standard_normal(size.shape)
    return BoxTable(kept.frames, np.full(len(kept), -1), boxes, rng.uniform(0.75, 0.95, len(kept)))


def _renumber(table: BoxTable, numbers: list[int]) -> BoxTable:
    kept = table.select(np.isin(table.frames, numbers))
    frames = np.searchsorted(numbers, kept.frames) + 1
    return BoxTable(frames, kept.ids, kept.boxes_xyxy, kept.scores, kept.classes, kept.visibility)
