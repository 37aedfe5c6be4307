"""C-BIoU, one object per track."""

from itertools import pairwise

import numpy as np

from _helpers.plain_trackers.common import iou, table
from _helpers.plain_trackers.sort import PlainSort, SortTrack


class MeanMotion:
    """The last detections of a track; it moves by the mean step between them, per unit of time."""

    def __init__(self, box, steps):
        self.steps = steps
        self.now = 0.0
        self.seen = [(0.0, np.array(box))]

    def predict(self, dt):
        self.now += dt

    def observe(self, box):
        self.seen.append((self.now, np.array(box)))

    def box(self):
        recent = self.seen[-self.steps - 1 :]
        moves = [b - a for (_, a), (_, b) in pairwise(recent)]
        times = [b - a for (a, _), (b, _) in pairwise(recent)]
        last_time, last = recent[-1]
        if not moves:
            return last
        x1, y1, x2, y2 = last + sum(moves) / sum(times) * (self.now - last_time)
        center, size = np.array([x1 + x2, y1 + y2]) / 2, np.array([x2 - x1, y2 - y1])
        size = np.maximum(size, (last[2:] - last[:2]) / 2)
        return np.concatenate([center - size / 2, center + size / 2])


def enlarge(box, buffer):
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    return [x1 - buffer * w, y1 - buffer * h, x2 + buffer * w, y2 + buffer * h]


class PlainCBIoU(PlainSort):
    def __init__(self, *, buffer=0.3, buffer_second=0.5, motion_frames=5, **sort):
        super().__init__(**sort)
        self.buffers = buffer, buffer_second
        self.motion_frames = motion_frames

    def new_track(self, detection):
        track = SortTrack(detection, self.next_id)
        track.filter = MeanMotion(detection.box, self.motion_frames)
        return track

    def associate(self, confident, weak):
        tracks, detections = list(self.tracks), list(confident)
        for buffer in self.buffers:

            def overlap(track, detection, buffer=buffer):
                same = track.detection.label == detection.label
                return iou(enlarge(track.filter.box(), buffer), enlarge(detection.box, buffer)) if same else 0.0

            overlaps = table(tracks, detections, overlap)
            pairs, _ = self.match(overlaps, overlaps)
            tracks, detections = self.settle(pairs, [], tracks, detections)
        return tracks, detections
