"""Features of a tracker's association cost, recorded for training and computed the same way at inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mot_core.association import ByteTrack, DetectionBatch, TrackBatch
from mot_core.boxes import pairwise_iou
from unitrack_association.videos import Floats, Frame, Integers, Video

NUM_FEATURES = 10


class Motion:
    """Movement of each track's predicted box since the previous frame; keeps state for one video."""

    def __init__(self) -> None:
        self.last: dict[int, Floats] = {}

    def __call__(self, tracks: TrackBatch) -> Floats:
        """Return ``(N, 3)``: movement of the center in pixels, and 1 where it is known."""
        centers = (tracks.boxes_xyxy[:, :2] + tracks.boxes_xyxy[:, 2:]) / 2
        moved = np.zeros((len(centers), 3))
        for row, number in enumerate(tracks.ids.tolist()):
            if number in self.last:
                moved[row] = [*(centers[row] - self.last[number]), 1]
        self.last = dict(zip(tracks.ids.tolist(), centers, strict=True))
        return moved


def features(
    boxes_xyxy: Floats, scores: Floats, elapsed: Floats, motion: Floats, image_size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return features ``(N, NUM_FEATURES)`` of predicted tracks or detections (``elapsed`` and ``motion`` 0)."""
    height, width = image_size
    center = ((boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) - (width, height)) / 2 / height
    size = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 1.0)
    step = np.clip(motion[:, :2] / size[:, 1:], -3, 3)
    parts = [2 * center, np.log(size / height) + 1.5, scores[:, None], np.log1p(elapsed)[:, None]]
    steps = [5 * step, motion[:, 2:], np.hypot(*step.T)[:, None]]
    return np.concatenate([*parts, *steps], 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Step:
    """Association step from one frame to the next.

    The first rows are the tracks of the previous frame's detections, in order, followed by lost tracks. Columns are the
    detections of the frame.

    Attributes:
        row_boxes_xyxy: Predicted boxes of the rows in pixels, ``(R, 4)``.
        row_features: Features of the rows, ``(R, F)``.
        column_features: Features of the columns, ``(N, F)``.
        target: Column of the same object, ``(R,)``, ``N`` for none.
    """

    row_boxes_xyxy: Floats
    row_features: npt.NDArray[np.float32]
    column_features: npt.NDArray[np.float32]
    target: Integers


class Oracle:
    """Cost from ground-truth identities that records the inputs of a tracker.

    Training thus uses the predicted boxes, lost tracks and false tracks of an error-free tracker.
    """

    def __init__(self, video: Video) -> None:
        self.video, self.now, self.motion = video, 0, Motion()
        self.identity: dict[int, tuple[int, int]] = {}  # per track: identity and row of its first detection
        self.steps: dict[int, Step] = {}

    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> Floats:
        """Return 0 for pairs of the same object, and 1 otherwise."""
        frames = self.video.frames
        for number, box, elapsed in zip(tracks.ids.tolist(), tracks.boxes_xyxy, tracks.elapsed, strict=True):
            if number not in self.identity:  # new track that has not moved yet
                seen = frames[self.now - round(elapsed)]
                row = int(pairwise_iou(box[None], seen.boxes_xyxy)[0].argmax())
                self.identity[number] = int(seen.identity[row]), row
        whose = np.array([self.identity[number][0] for number in tracks.ids.tolist()], np.int64)
        self.steps[self.now] = self._step(frames[self.now - 1], frames[self.now], tracks, whose)
        same = whose[:, None] == frames[self.now].identity[detections.index]
        return 1.0 - (same & (whose >= 0)[:, None])

    def _step(self, before: Frame, after: Frame, tracks: TrackBatch, whose: Integers) -> Step:
        count, moved = len(before.scores), self.motion(tracks)
        boxes, scores, elapsed = before.boxes_xyxy.copy(), before.scores.copy(), np.ones(count)
        motion, lost = np.zeros((count, 3)), np.ones(len(whose), bool)
        for track in np.flatnonzero(tracks.elapsed == 1):
            rows = (
                np.flatnonzero(before.identity == whose[track])
                if whose[track] >= 0
                else [self.identity[int(tracks.ids[track])][1]]
            )
            for row in rows:
                boxes[row], scores[row], motion[row], lost[track] = (
                    tracks.boxes_xyxy[track],
                    tracks.scores[track],
                    moved[track],
                    False,
                )
        boxes, scores = np.concatenate([boxes, tracks.boxes_xyxy[lost]]), np.concatenate([scores, tracks.scores[lost]])
        elapsed, motion = np.concatenate([elapsed, tracks.elapsed[lost]]), np.concatenate([motion, moved[lost]])
        rows_are = np.concatenate([before.identity, whose[lost]])
        same = (rows_are[:, None] == after.identity) & (rows_are >= 0)[:, None]
        size = self.video.image_size
        return Step(
            boxes,
            features(boxes, scores, elapsed, motion, size),
            detection_features(after.boxes_xyxy, after.scores, size),
            np.where(same.any(1), same.argmax(1), len(after.scores))
            if same.size
            else np.full(len(boxes), len(after.scores)),
        )


def detection_features(boxes: Floats, scores: Floats, image_size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return :func:`features` of detections."""
    return features(boxes, scores, np.zeros(len(boxes)), np.zeros((len(boxes), 3)), image_size)


@dataclass(frozen=True, eq=False)
class Recording:
    """Video with the steps into its frames; ``None`` where there was nothing to associate."""

    video: Video
    steps: list[Step | None]


def record(video: Video) -> Recording:
    """Record a video by tracking it with the oracle."""
    oracle = Oracle(video)
    tracker = ByteTrack(cost=oracle)
    for oracle.now, frame in enumerate(video.frames):
        tracker.update(frame.boxes_xyxy, frame.scores)
    return Recording(video, [oracle.steps.get(now) for now in range(len(video.frames))])
