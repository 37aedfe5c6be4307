"""Scored frames as tensors of integers, so that frames of any size can be gathered between processes.

Records are self-describing: they can be concatenated in any order and separated again. Layout::

    length, frame number, rows of raw ground truth, G, N, bytes of the name | name | ids | boxes

Names are padded to whole words and boxes are stored as float64 bit patterns; a box takes 40 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mot_core.evaluation.protocol import FramePair

Words = npt.NDArray[np.int64]

HEADER = 6
WORD = 8


class Key(NamedTuple):
    """Key of a frame."""

    sequence: str
    frame: int


class Record(NamedTuple):
    """A frame of a sequence.

    Attributes:
        key: Sequence and frame number.
        raw_rows: Number of ground-truth rows before the benchmark's rules.
        pair: Boxes that count.
    """

    key: Key
    raw_rows: int
    pair: FramePair


def pack(record: Record) -> Words:
    """Encode a record as integers.

    >>> box = np.array([[0., 0., 4., 2.]])
    >>> words = pack(Record(Key("clip", 7), 1, FramePair(np.array([1]), box, np.array([5]), box)))
    >>> words.shape
    (17,)
    >>> [record.key for record in unpack(np.concatenate([words, words]))]
    [Key(sequence='clip', frame=7), Key(sequence='clip', frame=7)]
    """
    (sequence, frame), raw_rows, pair = record
    name = sequence.encode()
    padded = name.ljust(-(-len(name) // WORD) * WORD, b"\0")
    header = [0, frame, raw_rows, len(pair.gt_ids), len(pair.ids), len(name)]
    words = np.concatenate(
        [
            np.array(header, np.int64),
            np.frombuffer(padded, np.int64),
            pair.gt_ids,
            pair.ids,
            np.ascontiguousarray(pair.gt_boxes_xyxy).view(np.int64).ravel(),
            np.ascontiguousarray(pair.boxes_xyxy).view(np.int64).ravel(),
        ]
    )
    words[0] = len(words)
    return words


def split(words: Words) -> Iterator[Words]:
    """Split concatenated records without decoding them."""
    start = 0
    while start < len(words):
        stop = start + int(words[start])
        yield words[start:stop]
        start = stop


def key_of(words: Words) -> Key:
    """Return sequence and frame of one encoded record."""
    num_bytes = int(words[5])
    return Key(words[HEADER : HEADER + -(-num_bytes // WORD)].tobytes()[:num_bytes].decode(), int(words[1]))


def unpack(words: Words) -> Iterator[Record]:
    """Decode concatenated records."""
    for record in split(words):
        raw_rows, num_gt, num, num_bytes = (int(word) for word in record[2:HEADER])
        parts = np.cumsum([HEADER, -(-num_bytes // WORD), num_gt, num, 4 * num_gt])
        _, _, gt_ids, ids, gt_boxes, boxes = np.split(record, parts)
        yield Record(
            key_of(record),
            raw_rows,
            FramePair(gt_ids, gt_boxes.view(np.float64).reshape(-1, 4), ids, boxes.view(np.float64).reshape(-1, 4)),
        )
