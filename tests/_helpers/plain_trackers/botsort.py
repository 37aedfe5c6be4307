"""BoT-SORT, one object per track."""

import numpy as np

from _helpers.plain_trackers.bytetrack import ByteTrackTrack, PlainByteTrack
from _helpers.plain_trackers.filters import SizeFilter


class BoTSortTrack(ByteTrackTrack):
    filter_type = SizeFilter
    size_velocities = slice(6, 8)


class PlainBoTSort(PlainByteTrack):
    """Reference BoT-SORT; ``camera`` is a function from a frame number to an affine transform."""

    track_type = BoTSortTrack

    def __init__(self, *, camera=None, max_cost=0.8, **bytetrack):
        super().__init__(max_cost=max_cost, **bytetrack)
        self.camera = camera

    def compensate(self):
        if self.camera is None:
            return
        affine = np.array(self.camera(self.step), float)
        linear = np.kron(np.eye(4), affine[:, :2])
        for track in self.tracks:
            track.filter.x = linear @ track.filter.x
            track.filter.x[:2] += affine[:, 2]
            track.filter.P = linear @ track.filter.P @ linear.T
