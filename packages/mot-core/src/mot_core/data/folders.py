"""Sequences in folders (MOTChallenge layout, KITTI) as an index: which ground truth is an object, which is ignored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mot_core.data.index import FrameIndex, Video, build_index, depth_path
from mot_core.io import Benchmark, BoxTable, Sequence
from mot_core.io.images import list_images


def index_sequences(
    sequences: Iterable[Sequence],
    *,
    min_visibility: float = 0.0,
    needs_ground_truth: bool = True,
    with_depth: bool = False,
) -> FrameIndex:
    """The frames of sequences and the boxes to train on, by the rules of their benchmarks.

    Objects are the rows that trackers are expected to find. Distractors, objects that do not count (conf 0, hidden,
    cut) and ignore regions are kept with ``ignore`` set, so that a loss can leave them out. All else is background.

    Args:
        sequences: with images, and with ground truth if it is needed.
        min_visibility: objects of which less is visible are ignored.
        needs_ground_truth: False for sequences that are only tracked; then none of it is read.
        with_depth: there is a depth map for every image.

    Raises:
        FileNotFoundError: a sequence has no images, misses some, or has no ground truth or depth maps.
        ValueError: a file is faulty, or no ground truth counts.

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
        raise ValueError("sequences must name at least one sequence, got none")
    videos = [_video(sequence, min_visibility, needs_ground_truth, with_depth) for sequence in parts]
    if needs_ground_truth and all(video.ignore.all() for video in videos):
        rules = ", ".join(sorted({sequence.benchmark for sequence in parts}))
        raise ValueError(
            f"no ground truth of {parts[0].path}{' and others' * (len(parts) > 1)} counts under the rules of {rules}; "
            "choose another benchmark ('generic' counts every row)"
        )
    return replace(build_index(videos), with_depth=with_depth)


def _video(sequence: Sequence, min_visibility: float, needs_ground_truth: bool, with_depth: bool) -> Video:
    numbers = sequence.frame_numbers()
    paths = image_paths(sequence)
    if with_depth:
        for path in map(depth_path, paths):
            if not path.is_file():
                raise FileNotFoundError(
                    f"depth map {path} is missing; make one for every image, or switch the depth maps off"
                )
    table, regions = BoxTable.empty(), BoxTable.empty()
    if needs_ground_truth:
        if not sequence.has_ground_truth:
            raise FileNotFoundError(f"{sequence.name} has no ground truth ({sequence.ground_truth_path}); add it")
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
    """Class label of every row, -1 where it is no object; and which rows are to be ignored.

    >>> from mot_core.io import BENCHMARKS
    >>> table = BoxTable([1] * 4, [1, 2, 3, 4], np.zeros((4, 4)), scores=[1, 0, 0, 0], classes=[1, 1, 7, 3])
    >>> label_rows(table, BENCHMARKS["MOT17"])  # a pedestrian, one that does not count, a static person, a car
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


def image_paths(sequence: Sequence) -> list[Path]:
    """The image of every frame.

    Raises:
        FileNotFoundError: there is none, or one is missing.
    """
    images = None if sequence.image_dir is None else list_images(sequence.image_dir)
    if sequence.image_dir is None or images is None:
        raise FileNotFoundError(f"{sequence.name} has no images ({sequence.path / 'img1'}); add them or leave it out")
    present = set(images.numbers)
    missing = [number for number in sequence.frame_numbers() if number not in present]
    if missing:
        raise FileNotFoundError(
            f"image {sequence.image_dir / images.name(missing[0])} is missing ({len(missing)} of {sequence.length} of "
            f"{sequence.name}); add the images, or correct seqLength in seqinfo.ini"
        )
    return [sequence.image_dir / images.name(number) for number in sequence.frame_numbers()]
