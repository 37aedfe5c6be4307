"""Training data of the cost: the associations of a tracker that makes no errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lamotr.cost.features import AssociationFeatures, association_features
from mot_core.association import ByteTrack, DetectionBatch, TrackBatch, iou_cost
from mot_core.association.assignment import assign_overlap
from mot_core.association.costs import overlap_matrix
from mot_core.io import BoxTable, Sequence

MIN_IOU = 0.5
"""IoU with a ground-truth box above which a detection belongs to its object."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RecordedAssociation:
    """Tracks and detections of one frame with their true association.

    Attributes:
        features: Input of the network.
        target: True for pairs of one object, of shape ``(M, K)`` for detections and tracks.
        known: False for pairs of a detection and a track that belong to no ground truth, of shape ``(M, K)``: they may
            show the same object, such as a reflection.
    """

    features: AssociationFeatures
    target: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


def detection_identities(boxes_xyxy: npt.NDArray[np.float64], truth: BoxTable, frame: int) -> Integers:
    """Return the ground-truth identity of each detection of a frame, of shape ``(N,)``; -1 for none.

    >>> truth = BoxTable([1], [7], [[0, 0, 4, 2]])
    >>> detection_identities(np.array([[50.0, 0, 54, 2], [0, 0, 4, 2.1]]), truth, 1).tolist()
    [-1, 7]
    """
    rows = truth.frame(frame)
    identities = np.full(len(boxes_xyxy), -1)
    overlap = overlap_matrix(boxes_xyxy.T, truth.boxes_xyxy[rows].T)
    found, objects = assign_overlap(overlap, overlap, MIN_IOU)
    identities[found] = truth.ids[rows][objects]
    return identities


def record_associations(
    sequence: Sequence, detections: BoxTable, on_frame: Callable[[], None] = lambda: None
) -> Iterator[RecordedAssociation]:
    """Track a sequence with associations from its ground truth, and record the input of every association.

    The recorded tracks are therefore those that the cost meets in tracking: at the boxes that the filter predicts,
    lost tracks and false ones included. Pairs of false tracks and false detections follow their overlap.

    Args:
        sequence: Sequence with ground truth.
        detections: Its detections.
        on_frame: Function that is called after every frame.

    Yields:
        One record per frame with tracks and detections.

    >>> import tempfile
    >>> from mot_core.io import find_sequences, make_scene
    >>> folder = make_scene(num_objects=4, num_frames=20).save(tempfile.mkdtemp())
    >>> (sequence,) = find_sequences(folder, benchmark="generic")
    >>> len(list(record_associations(sequence, sequence.detections())))
    19
    """
    every = sequence.ground_truth()
    truth = every.select(sequence.rules.counted(every))
    oracle = _Oracle()
    tracker = ByteTrack(cost=oracle)
    for frame in sequence.frame_numbers():
        rows = detections.frame(frame)
        boxes = detections.boxes_xyxy[rows]
        oracle.enter(boxes, detection_identities(boxes, truth, frame))
        tracker.update(boxes, detections.scores[rows])
        if oracle.recorded is not None:
            yield oracle.recorded
        on_frame()


class _Oracle:
    """Cost 0 for pairs of one object and 1 for others."""

    def __init__(self) -> None:
        self.frames: list[tuple[npt.NDArray[np.float64], Integers]] = []
        self.identity_of: dict[int, int] = {}
        self.recorded: RecordedAssociation | None = None

    def enter(self, boxes: npt.NDArray[np.float64], identities: Integers) -> None:
        self.frames.append((boxes, identities))
        self.recorded = None

    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> npt.NDArray[np.float64]:
        for number, box, elapsed in zip(tracks.ids.tolist(), tracks.boxes_xyxy, tracks.elapsed, strict=True):
            if number not in self.identity_of:  # a new track is still at the box of its detection
                boxes, identities = self.frames[-1 - round(elapsed)]
                self.identity_of[number] = int(identities[overlap_matrix(box[:, None], boxes.T)[0].argmax()])
        of_track = np.array([self.identity_of[number] for number in tracks.ids.tolist()], np.int64)
        of_detection = self.frames[-1][1][detections.index]
        target = (of_detection[:, None] == of_track) & (of_track >= 0)
        known = (of_detection[:, None] >= 0) | (of_track >= 0)
        self.recorded = RecordedAssociation(association_features(tracks, detections), target, known)
        return np.where(known, 1.0 - target, iou_cost(tracks, detections).T).T
