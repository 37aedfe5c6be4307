"""Index of sequences in folders (MOTChallenge or KITTI layout), with objects and ignored regions for training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mot_core.data.index import FrameIndex, Video, build_index
from mot_core.io import Benchmark, BoxTable, Sequence
from mot_core.io.images import depth_file
from mot_core.streams.frames import image_paths


def index_sequences(
    sequences: Iterable[Sequence],
    *,
    min_visibility: float = 0.0,
    needs_ground_truth: bool = True,
    with_depth: bool = False,
) -> FrameIndex:
    """Index the frames and training boxes of sequences, by the rules of their benchmarks.

    Objects are the rows that a tracker should find. Distractors, objects that are not scored (conf 0, hidden,
    truncated) and ignore regions are kept with ``ignore`` set, so that a loss can exclude them. All else is background.

    Args:
        sequences: Sequences with images, and with ground truth if it is needed.
        min_visibility: Smallest visible share of an object; objects below it are ignored.
        needs_ground_truth: Whether ground truth is read. False for sequences that are only tracked.
        with_depth: Whether depth maps are read. Images without one get a map of NaN, and one warning states how many.

    Returns:
        Index of all frames and boxes.

    Raises:
        FileNotFoundError: If images or ground truth of a sequence are missing, or all depth maps.
        ValueError: If a file is invalid, or no ground truth is scored under the rules.

    >>> import tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> from mot_core.io import find_sequences
    >>> folder = SyntheticVideo(num_frames=3, num_objects=(4, 4)).save(tempfile.mkdtemp(), 0)
    >>> index = index_sequences(find_sequences(folder, benchmark="generic"))
    >>> index.read(0, [2])[0].boxes_xyxy.shape
    (4, 4)
    """
    parts = list(sequences)
    if not parts:
        raise ValueError("sequences: expected at least one sequence, got none")
    videos = [_video(sequence, min_visibility, needs_ground_truth) for sequence in parts]
    if needs_ground_truth and all(video.ignore.all() for video in videos):
        rules = ", ".join(sorted({sequence.benchmark for sequence in parts}))
        raise ValueError(
            f"{parts[0].path}{' and others' * (len(parts) > 1)}: expected ground truth that is scored under the rules "
            f"of {rules}, got none; choose another benchmark ('generic' uses every row)"
        )
    if with_depth:
        _report_missing_depth([path for video in videos for path in video.paths])
    return replace(build_index(videos), with_depth=with_depth)


def _report_missing_depth(images: list[str | os.PathLike[str]]) -> None:
    missing = [path for path in images if depth_file(path) is None]
    if len(missing) == len(images):
        folder = Path(images[0]).parent.parent / "depth"
        raise FileNotFoundError(f"{folder}: expected depth maps, found none; add them, or set with_depth to false")
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(images)} images have no depth map, the first is {missing[0]}; losses of depth "
            "leave them out",
            stacklevel=3,
        )


def _video(sequence: Sequence, min_visibility: float, needs_ground_truth: bool) -> Video:
    numbers = sequence.frame_numbers()
    paths = image_paths(sequence)
    table, regions = BoxTable.empty(), BoxTable.empty()
    if needs_ground_truth:
        if not sequence.has_ground_truth:
            raise FileNotFoundError(
                f"{sequence.name}: expected ground truth in {sequence.ground_truth_path}, found none; add it"
            )
        table, regions = sequence.ground_truth(), sequence.ignore_regions()
    labels, ignore = label_rows(table, sequence.rules)
    ignore |= (labels >= 0) & (table.visibility < min_visibility)
    used = (labels >= 0) | ignore
    table, labels, ignore = table.select(used), labels[used], ignore[used]
    both = BoxTable.concatenate([table, regions])
    order = np.argsort(np.concatenate([table.frames, regions.frames]), kind="stable")  # as in concatenate
    ignore = np.concatenate([ignore, np.ones(len(regions), bool)])[order]
    labels = np.concatenate([labels, np.full(len(regions), -1)])[order]
    return Video(
        name=sequence.name,
        numbers=numbers,
        paths=paths,
        frame=both.frames - numbers[0],
        boxes_xyxy=both.boxes_xyxy,
        ids=np.where(ignore, -1, both.ids),
        labels=labels.clip(0),
        visibility=both.visibility,
        ignore=ignore,
        size=sequence.image_size,
    )


def label_rows(table: BoxTable, rules: Benchmark) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the class label of every row (-1 if it is not an object), and a mask of ignored rows.

    >>> from mot_core.io import BENCHMARKS
    >>> table = BoxTable([1] * 4, [1, 2, 3, 4], np.zeros((4, 4)), scores=[1, 0, 0, 0], classes=[1, 1, 7, 3])
    >>> label_rows(table, BENCHMARKS["MOT17"])  # a pedestrian, an unscored one, a static person, a car
    (array([ 0, -1, -1, -1]), array([False,  True,  True, False]))
    """
    labels = np.full(len(table), -1, np.int64)
    ignore = np.zeros(len(table), bool)
    counted = rules.counted(table)
    for label, one in enumerate(rules.classes):
        own = np.ones(len(table), bool) if one.number is None else table.classes == one.number
        labels[own & counted] = label
        ignore |= (own & ~counted) | np.isin(table.classes, one.distractors)
    return labels, ignore
