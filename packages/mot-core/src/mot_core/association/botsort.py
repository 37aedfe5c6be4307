"""BoT-SORT: ByteTrack with width and height in the filter, and camera motion (Aharon et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mot_core.association.base import Preset, TrackTable
from mot_core.association.bytetrack import ByteTrack
from mot_core.association.camera_motion import CameraMotion, move_camera, read_camera_motion
from mot_core.association.frame_detections import Floats
from mot_core.association.kalman import BOTSORT_NOISE, FILTER_ROWS, MotionNoise, P, V
from mot_core.association.layouts import CenterSize, Layout


@dataclass(kw_only=True, eq=False)
class BoTSort(ByteTrack):
    """BoT-SORT (Aharon et al., 2022, arXiv:2206.14651) without appearance, with all tracks in one batch.

    Associations, states of tracks and births are those of ByteTrack. The filter has center, width and height instead of
    an aspect ratio, with noise relative to width and height, and predicted tracks follow the motion of the camera.

    Args:
        track_threshold: Detections above this score are confident and matched first.
        low_threshold: Detections between this score and ``track_threshold`` can only continue existing tracks. Lower
            values bridge more occlusions but risk matching false detections.
        birth_threshold: Unmatched detections with at least this score start a track.
        max_cost: Highest cost, 1 - IoU x score, of a confident match.
        max_cost_low: Highest cost, 1 - IoU, of a weak match.
        max_cost_unconfirmed: Highest cost of the second detection of a new track.
        max_age: Number of frames for which a lost track is kept. Higher values bridge longer occlusions but risk
            identity switches.
        camera: Motion of the camera: file for :func:`mot_core.association.read_camera_motion`, or in Python a function
            from a frame number to the affine transform of the frame before. By default the camera is still.
        first_frame: Number of the first frame given to the tracker, which the frames of ``camera`` refer to.
        fuse_score: Whether to multiply the IoU of confident matches by the score.
        duplicate_iou: If a tracked and a lost track of one class overlap by more than this, the younger one is dropped.
        frame_rate: Nominal frames per second, used to convert timestamps (seconds) into frames.
        min_area: Tracks with a box of at most this area (square pixels) are not reported.
        max_aspect: Tracks with a larger width / height than this are not reported.
        cost: Association cost between tracks and detections: ``iou``, ``pixel_iou`` (boxes include their last pixel),
            ``NAME:FILE`` for a learned cost such as lamotr:cost.pt, or in Python a function.
        report: Boxes of the reported tracks: ``detection`` for their detections, ``filter`` for the filter's estimates,
            as in the paper. Detections score higher HOTA where boxes move fast.
        noise: Standard deviations of the Kalman filter.

    Raises:
        ValueError: For ``official_quirks``, because the paper is implemented, not the released code; for ``motion``,
            because learned noise is relative to heights, not to widths and heights.

    >>> import numpy as np
    >>> tracker = BoTSort(camera=lambda frame: [[1, 0, -100], [0, 1, 0]])  # pans by more than the width of the box
    >>> for x in (400, 300, 200):
    ...     tracks = tracker.update(np.array([[x, 0, x + 40, 80]]), np.array([0.9]))
    >>> tracks.ids
    array([1])
    """

    layout: ClassVar[Layout] = CenterSize()
    size_velocity: ClassVar[slice] = slice(V.start + 2, V.stop)
    PRESETS: ClassVar[Mapping[str, Preset]] = {"default": Preset(), "paper": Preset({"report": "filter"})}

    max_cost: float = 0.8
    camera: CameraMotion | str = ""
    first_frame: int = 1
    noise: MotionNoise = BOTSORT_NOISE

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_unless(not self.official_quirks, "official_quirks", "False; only the paper is implemented")
        self._refuse_unless(not self.motion, "motion", "empty; learned noise is relative to heights only")
        self._refuse_unless(self.first_frame >= 0, "first_frame", "0 or more")
        self._camera: CameraMotion | None = None
        if self.camera:
            self._camera = read_camera_motion(self.camera) if isinstance(self.camera, str) else self.camera

    def _predict(self, table: TrackTable, tracked: int, old: int, dt: float) -> Floats:
        corners = super()._predict(table, tracked, old, dt)
        if self._camera is None:
            return corners
        move_camera(table.values[:FILTER_ROWS], self._camera(table.step - 1 + self.first_frame))
        return self.layout.corners(table.values[P])
