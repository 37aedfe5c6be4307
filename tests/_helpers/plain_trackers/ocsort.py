"""OC-SORT, one object per track."""

import copy

import numpy as np

from _helpers.plain_trackers.common import table
from _helpers.plain_trackers.sort import PlainSort, SortTrack, direction


class ObservedTrack(SortTrack):
    """A SORT track that stores its detections by age, and its filter at the start of a gap."""

    def __init__(self, detection, id, *, delta_t, official):
        super().__init__(detection, id)
        self.delta_t = delta_t
        self.official = official
        self.age = 0
        self.observations = {} if official else {0: detection.box}  # the official code does not count the first
        self.direction = np.zeros(2)
        self.frozen = None

    def predict(self, dt):
        super().predict(dt)
        self.age += 1

    def last(self):
        return self.observations[max(self.observations)] if self.observations else None

    def previous(self):
        """Return the detection ``delta_t`` frames ago, else the next later one, else the last one."""
        for ago in range(self.delta_t, 0, -1):
            if self.age - ago in self.observations:
                return self.observations[self.age - ago]
        return self.last()

    def miss(self):
        if self.observations and self.frozen is None:
            self.frozen = copy.deepcopy(self.filter)

    def observe(self, detection):
        if self.observations:
            self.direction = direction(self.previous(), detection.box)
        if self.frozen is not None:
            self.replay(detection.box)
        self.observations[self.age] = detection.box
        super().observe(detection)

    def replay(self, box):
        """Restore the filter at the start of the gap and feed it boxes on the line from the last detection to this one.

        In the official code the real detection is part of the line, and is then fed in again.
        """
        self.filter, self.frozen = self.frozen, None
        gap = self.age - max(self.observations)
        start, end = center_size(self.last()), center_size(box)
        for i in range(1, gap + 1 if self.official else gap):
            x, y, w, h = start + (end - start) * i / gap
            self.filter.observe([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            if i < gap:
                self.filter.predict(self.elapsed / gap)


class PlainOCSort(PlainSort):
    def __init__(self, *, low_threshold=0.1, delta_t=3, inertia=0.2, use_byte=False, **sort):
        super().__init__(**sort)
        self.low_threshold = low_threshold
        self.delta_t = delta_t
        self.inertia = inertia
        self.use_byte = use_byte

    def new_track(self, detection):
        return ObservedTrack(detection, self.next_id, delta_t=self.delta_t, official=self.official)

    def associate(self, confident, weak):
        # 1: overlap with the prediction, plus a bonus for continuing in the same direction.
        overlap = self.overlaps([t.filter.box() for t in self.tracks], self.tracks, confident)
        pairs, dropped = self.match(overlap + table(self.tracks, confident, self.momentum), overlap)
        alone, births = self.settle(pairs, dropped, self.tracks, confident)
        # 2: weak detections, as in ByteTrack.
        if self.use_byte:
            weak = [d for d in weak if d.score > self.low_threshold]
            alone, _, _ = self.match_left([t.filter.box() for t in alone], alone, weak)
        # 3: overlap with the last detection itself.
        last = [np.full(4, -1.0) if t.last() is None else t.last() for t in alone]
        alone, births, matched = self.match_left(last, alone, births)
        if matched and self.official:
            births.sort(key=lambda d: d.row)
        return alone, births

    def match_left(self, boxes, tracks, detections):
        overlap = self.overlaps(boxes, tracks, detections)
        if not overlap.size or overlap.max() <= self.iou_threshold:
            return tracks, detections, False
        pairs, _ = self.match(overlap, overlap, keep_unique=False)
        return *self.settle(pairs, [], tracks, detections), True

    def momentum(self, track, detection):
        if track.previous() is None:
            return 0.0
        cosine = np.clip(track.direction @ direction(track.previous(), detection.box), -1, 1)
        return self.inertia * detection.score * (np.pi / 2 - np.arccos(cosine)) / np.pi


def center_size(box):
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
