"""A config for training on a folder of sequences, proposed from their images and ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from mot_core.boxes import iou
from mot_core.io import BoxTable, find_sequences
from mot_core.io import Sequence as VideoSequence

STEPS = 2400
"""Optimizer steps: after these, the small detector finds most objects of rendered video."""
LEAST_SIDE = 20
"""Wanted size in pixels, as the root of the area, of the small objects of a data set after resizing."""
SHORT_SIDE_CPU = 160
SHORT_SIDE_GPU = 800
LEAST_OVERLAP = 0.3
MOST_INTERVAL = 8
CLIP_LENGTH = 2
BATCH_SIZE = {"cpu": 4, "gpu": 8}


@dataclass(frozen=True)
class DataSummary:
    """Numbers of a training set from which its config is proposed.

    Attributes:
        sequences: Number of sequences.
        frames: Number of frames.
        image_size: Height and width of the most frequent size.
        objects: Number of boxes per frame with a box, on average.
        size: Height and width of a box in pixels, medians.
        small_side: Root of the area of a small object in pixels: the tenth percentile.
        interval: Largest step between two frames over which boxes of an object overlap by ``LEAST_OVERLAP`` (median
            IoU), from 1 to ``MOST_INTERVAL``.
        classes: Number of scored classes.
    """

    sequences: int
    frames: int
    image_size: tuple[int, int]
    objects: float
    size: tuple[float, float]
    small_side: float
    interval: int
    classes: int


def summarize(sequences: Sequence[VideoSequence]) -> DataSummary:
    """Read the ground truth of sequences with images.

    Raises:
        FileNotFoundError: If a sequence has no images or no ground truth.
        ValueError: If no box counts.
    """
    tables = []
    for one in sequences:
        if one.image_dir is None or one.image_size is None:
            raise FileNotFoundError(f"{one.name}: expected images in {one.path / 'img1'}, found none; add them")
        truth = one.ground_truth()
        tables.append(truth.select(one.rules.counted(truth)))
    boxes = np.concatenate([table.boxes_xyxy for table in tables])
    if not len(boxes):
        names = ", ".join(one.name for one in sequences[:3])
        raise ValueError(f"{names}: expected boxes in the ground truth that count, found none; check --benchmark")
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes = [one.image_size for one in sequences if one.image_size is not None]
    lengths = [len(one.frame_numbers()) for one in sequences]
    with_boxes = sum(len(np.unique(table.frames)) for table in tables)
    return DataSummary(
        sequences=len(sequences),
        frames=sum(lengths),
        image_size=max(sizes, key=sizes.count),
        objects=len(boxes) / with_boxes,
        size=(float(np.median(sides[:, 1])), float(np.median(sides[:, 0]))),
        small_side=float(np.percentile(np.sqrt(sides.prod(1)), 10)),
        interval=largest_interval(tables),
        classes=len(sequences[0].rules.classes),
    )


def largest_interval(tables: Sequence[BoxTable]) -> int:
    """Return the largest step over which the boxes of an object overlap by ``LEAST_OVERLAP`` in the median.

    >>> frames = np.arange(1, 21)
    >>> boxes = np.array([[3.0 * frame, 0, 3 * frame + 20, 40] for frame in frames])
    >>> largest_interval([BoxTable(frames, np.ones(20), boxes)])  # 3 steps: 9 of 20 pixels, an IoU of 0.38
    3
    """
    chosen = 1
    for step in range(2, MOST_INTERVAL + 1):
        overlaps = np.concatenate([_overlaps(table, step) for table in tables])
        if not len(overlaps) or np.median(overlaps) < LEAST_OVERLAP:
            break
        chosen = step
    return chosen


def _overlaps(table: BoxTable, step: int) -> npt.NDArray[np.floating]:
    """Return the IoU of every box with that of the same object ``step`` frames later."""
    order = np.lexsort([table.frames, table.ids])
    rows = {
        key: row for row, key in enumerate(zip(table.ids[order].tolist(), table.frames[order].tolist(), strict=True))
    }
    pairs = [(row, rows[ids, frame + step]) for (ids, frame), row in rows.items() if (ids, frame + step) in rows]
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    boxes = table.boxes_xyxy[order]
    return np.asarray(iou(boxes[first], boxes[second]))


def network_short_side(found: DataSummary, gpu: bool) -> int:
    """Return the shorter side of the network input: a multiple of 32 at which small objects are large enough.

    >>> small = DataSummary(1, 100, (1080, 1920), 5.0, (90.0, 40.0), 50.0, 3, 1)
    >>> network_short_side(small, gpu=True), network_short_side(small, gpu=False)
    (448, 160)
    """
    short = min(found.image_size)
    wanted = short * LEAST_SIDE / found.small_side
    most = min(short, SHORT_SIDE_GPU if gpu else SHORT_SIDE_CPU)
    return max(32 * math.ceil(min(wanted, most) / 32), 64)


def propose(folder: Path, benchmark: str = "auto", *, gpu: bool = False) -> tuple[DataSummary, dict[str, Any]]:
    """Return a summary of the training sequences in a folder, and a config of ``mot fit`` for them.

    Args:
        folder: Folder of sequences with images and ground truth. Its folders ``train`` and ``val`` are used if they
            exist; otherwise the first halves of the sequences are for training, and the second for validation.
        benchmark: Rules of the ground truth; "auto" infers them from folder names.
        gpu: Whether to propose a network and an image size for a GPU.

    Raises:
        FileNotFoundError: If there are no sequences, or a sequence has no images or no ground truth.
        ValueError: If no box counts, or a sequence is too short.
    """
    has_splits = all((folder / name).is_dir() for name in ("train", "val"))
    train = folder / "train" if has_splits else folder
    sequences = find_sequences(train, benchmark=benchmark)
    found = summarize(sequences)
    side = network_short_side(found, gpu)
    long_side = 32 * math.ceil(side * max(found.image_size) / min(found.image_size) / 32)
    batch = BATCH_SIZE["gpu" if gpu else "cpu"]
    per_epoch = max(found.frames // (1 if has_splits else 2) // batch, 1)
    epochs = max(math.ceil(STEPS / per_epoch), 6) if per_epoch < STEPS // 6 else 6
    detector: dict[str, Any] = {"size": "s" if gpu else "micro", "norm": "group"}
    if found.classes > 1:
        detector["num_classes"] = found.classes
    data: dict[str, Any] = {
        "train": str(train),
        "val": str(folder / "val" if has_splits else folder),
        **({} if has_splits else {"split": "half"}),
        "benchmark": sequences[0].benchmark,
        "clip_length": CLIP_LENGTH,
        "max_interval": found.interval,
        "batch_size": batch,
        "augmentation": {
            "short_sides": sorted({16 * round(side * factor / 16) for factor in (0.8, 0.9, 1.0)}),
            "max_long_side": long_side,
            "flip": 0.5,
        },
    }
    trainer: dict[str, Any] = {
        "max_epochs": epochs,
        "limit_train_batches": min(per_epoch, STEPS // 6),
        "check_val_every_n_epoch": max(epochs // 6, 1),
        "gradient_clip_val": 0.1,
    }
    model = {
        "detector": detector,
        "optimizer": {
            "lr": 1.0e-3,
            "backbone_scale": 1.0,
            "warmup_epochs": round(epochs / 12, 1),
            "milestones": [round(epochs * 5 / 6)],
        },
        "l1_epoch": round(epochs * 5 / 6),
        "track_threshold": 0.4,
        "birth_threshold": 0.5,
        "min_area": 0.0,
    }
    return found, {
        "model": {"class_path": "YOLOXByteTrack", "init_args": model},
        "data": {"class_path": "MOTDataModule", "init_args": data},
        "trainer": trainer,
    }


def proposal_text(folder: Path, benchmark: str = "auto", *, gpu: bool = False, only_data: bool = False) -> str:
    """Return the proposed config as YAML, with the numbers of the data on which it is based as a comment.

    Args:
        folder: Folder of sequences with images and ground truth.
        benchmark: Rules of the ground truth.
        gpu: Whether to propose a network and an image size for a GPU.
        only_data: Leave out model and trainer, which another config defines.
    """
    found, config = propose(folder, benchmark, gpu=gpu)
    height, width = found.image_size
    comment = f"""\
# YOLOX and ByteTrack from random weights on {folder}, proposed by mot configs suggest.
# {found.sequences} sequences with {found.frames} frames of {width}x{height}; {found.objects:.1f} objects per frame.
# Objects: {found.size[1]:.0f}x{found.size[0]:.0f} pixels in the median; a tenth has an area below \
{found.small_side:.0f}x{found.small_side:.0f} pixels.
# Between frames up to {found.interval} apart, boxes of an object overlap by at least {LEAST_OVERLAP} in the median.
"""
    kept = {"data": config["data"]} if only_data else config
    return comment + yaml.safe_dump(kept, sort_keys=False, default_flow_style=None, width=110)


@contextmanager
def folder_as_config(arguments: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Replace ``--data FOLDER`` in the arguments of ``mot fit`` by a config for the folder, which exists in the block.

    With a config of the user, the proposal has data only.

    Args:
        arguments: Arguments of ``mot fit``.

    Yields:
        The arguments, and the text of the proposal; unchanged and empty if ``--data`` names a class or is absent.

    Raises:
        FileNotFoundError: If ``--data`` is a path that does not exist.

    >>> with folder_as_config(["--data", "SyntheticDataModule"]) as (arguments, text):
    ...     print(arguments, repr(text))
    ['--data', 'SyntheticDataModule'] ''
    """
    words = [part for one in arguments for part in (one.split("=", 1) if one.startswith("--data=") else [one])]
    values = dict(pairwise(words))
    given = values.get("--data", "")
    folder = Path(given)
    if not given or not folder.is_dir():
        if "/" in given or "\\" in given:
            raise FileNotFoundError(
                f"--data: expected a data module or a folder of sequences, found nothing at {given}"
            )
        yield [*arguments], ""
        return
    import torch

    text = proposal_text(
        folder,
        values.get("--data.benchmark", "auto"),
        gpu=torch.cuda.is_available() and values.get("--trainer.accelerator") != "cpu",
        only_data=any(one.partition("=")[0] in ("--config", "-c") for one in words),
    )
    place = words.index("--data")
    with TemporaryDirectory() as temporary:
        config = Path(temporary) / f"{folder.resolve().name}.yaml"
        config.write_text(text, encoding="utf-8")
        yield [*words[:place], "--config", str(config), *words[place + 2 :]], text
