"""SORT, one object per track."""

import numpy as np

from _helpers.plain_trackers.common import Row, iou, match_overlap, match_then_threshold, read, table
from _helpers.plain_trackers.filters import AreaFilter


class SortTrack:
    def __init__(self, detection, id):
        self.id = id
        self.filter = AreaFilter(detection.box)
        self.detection = detection
        self.elapsed = 0.0  # since the last detection, in frames
        self.streak = 0  # consecutive detections after the first
        self.confirmed = False  # has been reported

    def predict(self, dt):
        self.filter.predict(dt)
        if self.elapsed > 0:
            self.streak = 0
        self.elapsed += dt

    def observe(self, detection):
        self.filter.observe(detection.box)
        self.detection = detection
        self.elapsed = 0.0
        self.streak += 1

    def miss(self):
        pass

    def reported_box(self, report):
        return self.filter.box() if report == "filter" else self.detection.box


class PlainSort:
    """Reference SORT.

    ``official``: match all pairs and apply the threshold afterwards; number births of dropped detections last.
    """

    track_type = SortTrack

    def __init__(
        self,
        *,
        official=False,
        score_threshold=0.6,
        iou_threshold=0.3,
        max_age=30,
        min_hits=3,
        report="detection",
    ):
        self.official = official
        self.report = report
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_age = max_age
        self.min_hits = min_hits
        self.tracks = []
        self.next_id = 1
        self.step = 0

    def update(self, boxes, scores, classes=None, dt=1.0):
        self.step += 1
        detections = read(boxes, scores, classes)
        confident = [d for d in detections if d.score > self.score_threshold]
        weak = [d for d in detections if d.score <= self.score_threshold]
        if self.official:
            weak = [d for d in weak if d.score < self.score_threshold]
        for track in self.tracks:
            track.predict(dt)
        alone, births = self.associate(confident, weak)
        for track in alone:
            track.miss()
        for detection in births:
            self.tracks.append(self.new_track(detection))
            self.next_id += 1
        self.tracks = [t for t in self.tracks if t.elapsed <= self.max_age]
        early = self.step <= self.min_hits
        reported = []
        for t in self.tracks:
            trusted = early or t.streak >= self.min_hits or (t.confirmed and not self.official)
            if t.elapsed == 0 and trusted:
                t.confirmed = True
                reported.append(
                    Row(t.id, t.reported_box(self.report), t.detection.score, t.detection.label, t.detection.row)
                )
        return reported

    def new_track(self, detection):
        return self.track_type(detection, self.next_id)

    def associate(self, confident, weak):
        """Assign detections to tracks; return unmatched tracks and the detections that start tracks."""
        overlap = self.overlaps([t.filter.box() for t in self.tracks], self.tracks, confident)
        pairs, dropped = self.match(overlap, overlap)
        return self.settle(pairs, dropped, self.tracks, confident)

    @staticmethod
    def overlaps(boxes, tracks, detections):
        def overlap(i, detection):
            same_class = tracks[i].detection.label == detection.label
            return iou(boxes[i], detection.box) if same_class else 0.0

        return table(range(len(tracks)), detections, overlap)

    def match(self, gain, overlap, keep_unique=True):
        if self.official:
            return match_then_threshold(gain, overlap, self.iou_threshold, keep_unique)
        return match_overlap(gain, overlap, self.iou_threshold), []

    @staticmethod
    def settle(pairs, dropped, tracks, detections):
        for i, j in pairs:
            tracks[i].observe(detections[j])
        taken_rows, taken_columns = {i for i, _ in pairs}, {j for _, j in pairs}
        alone = [t for i, t in enumerate(tracks) if i not in taken_rows]
        untouched = [j for j in range(len(detections)) if j not in taken_columns and j not in dropped]
        return alone, [detections[j] for j in [*untouched, *dropped]]


def direction(box_from, box_to):
    """Unit vector between the centers of two boxes."""
    step = np.array(
        [box_to[0] + box_to[2] - box_from[0] - box_from[2], box_to[1] + box_to[3] - box_from[1] - box_from[3]]
    )
    step = step / 2
    return step / (np.sqrt((step**2).sum()) + 1e-6)
