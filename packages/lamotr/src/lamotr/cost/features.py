"""Features of the tracks and detections of one frame, from boxes, scores and motion alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mot_core.association import DetectionBatch, TrackBatch

DETECTION_FEATURES, TRACK_FEATURES = 5, 8
LARGEST_STEP = 2.0  # velocity in box heights per frame at which the feature saturates

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AssociationFeatures:
    """Input of the network for the ``M`` detections and ``K`` tracks of one frame.

    Positions are relative to the mean center of all boxes, and lengths to their median height, so that no image size is
    needed and neither shifts nor zooms of the image have an effect.

    Attributes:
        detections: Features of shape ``(M, 5)``: center, logarithm of the sides, score.
        tracks: Features of shape ``(K, 8)``: the same, then velocity in heights of the box, and logarithm of the frames
            since the last detection.
        detection_boxes_cxcywh: Boxes of shape ``(M, 4)``.
        track_boxes_cxcywh: Predicted boxes of shape ``(K, 4)``.
    """

    detections: Features
    tracks: Features
    detection_boxes_cxcywh: Features
    track_boxes_cxcywh: Features

    def mirrored(self) -> AssociationFeatures:
        """Return the features of the mirrored image.

        >>> ones = np.ones((1, 8), np.float32)
        >>> AssociationFeatures(ones[:, :5], ones, ones[:, :4], ones[:, :4]).mirrored().tracks[0].tolist()
        [-1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0]
        """
        signs = np.ones(TRACK_FEATURES, np.float32)
        signs[[0, 5]] = -1
        return AssociationFeatures(
            self.detections * signs[:DETECTION_FEATURES],
            self.tracks * signs,
            self.detection_boxes_cxcywh * signs[:4],
            self.track_boxes_cxcywh * signs[:4],
        )


def association_features(tracks: TrackBatch, detections: DetectionBatch) -> AssociationFeatures:
    """Compute the features of one frame.

    Args:
        tracks: Tracks at the time of the frame.
        detections: Detections of the frame.

    >>> one, box = np.ones(1), np.array([[0.0, 0.0, 40.0, 80.0]])
    >>> tracks = TrackBatch(one, box, one, one, one, one, np.array([[4.0, 0.0]]))
    >>> association_features(tracks, DetectionBatch(box, one, one, one)).tracks[0, 5:].round(2)
    array([0.05, 0.  , 0.  ], dtype=float32)
    """
    boxes = np.concatenate([tracks.boxes_xyxy, detections.boxes_xyxy])
    center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    scale = float(np.median(size[:, 1])) if len(size) else 1.0
    center = (center - center.mean(0)) / scale if len(center) else center
    cxcywh = np.concatenate([center, size / scale], 1)
    scores = np.concatenate([tracks.scores, detections.scores])
    common = np.concatenate([center / 4, np.log(size / scale), scores[:, None]], 1)
    count = len(tracks.boxes_xyxy)
    velocities = np.zeros((count, 2)) if tracks.velocities is None else tracks.velocities
    step = np.clip(velocities / size[:count, 1:], -LARGEST_STEP, LARGEST_STEP)
    age = np.log(np.maximum(tracks.elapsed, 1.0))[:, None]
    of_tracks = np.concatenate([common[:count], step, age], 1)
    parts = common[count:], of_tracks, cxcywh[count:], cxcywh[:count]
    return AssociationFeatures(*(part.astype(np.float32) for part in parts))
