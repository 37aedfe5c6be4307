"""ByteTrack, one object per track."""

from _helpers.plain_trackers.common import Row, iou, match_padded, read, table
from _helpers.plain_trackers.filters import HeightFilter


class ByteTrackTrack:
    filter_type = HeightFilter
    size_velocities = slice(7, 8)  # of the filter's state; a lost track does not keep them

    def __init__(self, detection, id, now, confirmed):
        self.id = id
        self.filter = self.filter_type(detection.box)
        self.detection = detection
        self.start = self.last_seen = now
        self.confirmed = confirmed
        self.lost = False
        self.expired = False

    def observe(self, detection, now):
        self.filter.observe(detection.box)
        self.detection = detection
        self.last_seen = now
        self.confirmed = True
        self.lost = False


class PlainByteTrack:
    """Reference ByteTrack.

    ``official``: boxes include their last pixel (+1), a score equal to the threshold is not a detection, unconfirmed
    tracks are not predicted, and an expired track takes part in one more association only.
    """

    track_type = ByteTrackTrack

    def __init__(
        self,
        *,
        official=False,
        track_threshold=0.6,
        low_threshold=0.1,
        birth_threshold=0.7,
        max_cost=0.9,
        max_cost_low=0.5,
        max_cost_unconfirmed=0.7,
        max_age=30,
        fuse_score=True,
        duplicate_iou=0.85,
        report="detection",
    ):
        vars(self).update(locals())
        self.tracks = []
        self.next_id = 1
        self.step = 0
        self.now = 0.0

    def update(self, boxes, scores, classes=None, dt=1.0):
        self.step += 1
        self.now += dt
        detections = read(boxes, scores, classes)
        high = [d for d in detections if d.score > self.track_threshold]
        low = [d for d in detections if self.low_threshold < d.score <= self.track_threshold]
        if self.official:
            low = [d for d in low if d.score < self.track_threshold]

        tracked = [t for t in self.tracks if t.confirmed and not t.lost]
        lost = [t for t in self.tracks if t.lost]
        unconfirmed = [t for t in self.tracks if not t.confirmed]
        for track in lost:
            track.filter.x[track.size_velocities] = 0.0
        for track in [*tracked, *lost, *([] if self.official else unconfirmed)]:
            track.filter.predict(dt)

        self.compensate()
        _, high = self.associate([*tracked, *lost], high, self.max_cost, fuse=self.fuse_score)
        left = [t for t in tracked if t.last_seen < self.now]
        self.associate(left, low, self.max_cost_low, fuse=False)
        gone, high = self.associate(unconfirmed, high, self.max_cost_unconfirmed, fuse=self.fuse_score)
        self.tracks = [t for t in self.tracks if t not in gone]
        self.age()
        for detection in high:
            if detection.score >= self.birth_threshold:
                self.tracks.append(self.track_type(detection, self.next_id, self.now, confirmed=self.step == 1))
                self.next_id += 1
        self.drop_duplicates()
        return [
            Row(
                t.id,
                t.filter.box() if self.report == "filter" else t.detection.box,
                t.detection.score,
                t.detection.label,
                t.detection.row,
            )
            for t in self.tracks
            if t.confirmed and not t.lost
        ]

    def compensate(self):
        """Handle camera motion; ByteTrack does nothing."""

    def overlap(self, a, b):
        return iou(a, b, pixel=1 if self.official else 0)

    def associate(self, tracks, detections, limit, *, fuse):
        """Assign detections to tracks; return the tracks and detections that are left."""

        def cost(track, detection):
            if track.detection.label != detection.label:
                return 1.0
            similarity = self.overlap(track.filter.box(), detection.box)
            return 1 - similarity * (detection.score if fuse else 1)

        pairs = match_padded(table(tracks, detections, cost), limit)
        for i, j in pairs:
            tracks[i].observe(detections[j], self.now)
        rows, columns = {i for i, _ in pairs}, {j for _, j in pairs}
        return (
            [t for i, t in enumerate(tracks) if i not in rows],
            [d for j, d in enumerate(detections) if j not in columns],
        )

    def age(self):
        kept = []
        for track in self.tracks:
            unseen = self.now - track.last_seen
            track.lost = unseen > 0
            too_old = unseen > self.max_age
            if self.official:
                if not (track.lost and track.expired):
                    kept.append(track)
                track.expired |= too_old
            elif not too_old:
                kept.append(track)
        self.tracks = kept

    def drop_duplicates(self):
        """Of an overlapping visible and lost track of one class, remove the shorter-lived one."""
        drop = set()
        for seen in (t for t in self.tracks if not t.lost):
            for unseen in (t for t in self.tracks if t.lost):
                if seen.detection.label != unseen.detection.label:
                    continue
                if self.overlap(seen.filter.box(), unseen.filter.box()) > self.duplicate_iou:
                    seen_is_older = seen.last_seen - seen.start > unseen.last_seen - unseen.start
                    drop.add((unseen if seen_is_older else seen).id)
        self.tracks = [t for t in self.tracks if t.id not in drop]
