"""Common base of the online trackers: streams, time, presets, state and the table of tracks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np

from mot_core.association.costs import AssociationCost, DetectionBatch, TrackBatch
from mot_core.association.frame_detections import Floats, FrameDetections, Integers, read_frame, write_tracks
from mot_core.association.kalman import FILTER_ROWS, BatchedKalman, MotionNoise, P, V
from mot_core.association.layouts import Layout
from mot_core.association.named_costs import read_cost
from mot_core.association.saved_state import read_stream
from mot_core.structures import Array, Detections, Tracks, detections_from, to_numpy

if TYPE_CHECKING:
    from typing_extensions import Self

# Row indices of TrackTable.values (after the filter block) and of TrackTable.labels.
SCORE, ELAPSED, FIRST_FREE_VALUE = FILTER_ROWS, FILTER_ROWS + 1, FILTER_ROWS + 2
ID, CLASS, DETECTION, FIRST_FREE_LABEL = 0, 1, 2, 3
LATEST = 1e11  # seconds since 1970, in the year 5138
Report: TypeAlias = Literal["detection", "filter"]


@dataclass(slots=True, eq=False)
class TrackTable:
    """All tracks of one stream as arrays with one column per track, without a Python object per track.

    Attributes:
        values: ``(F, N)`` float64 rows: filter block, score, frames since the last detection, then the tracker's own.
        labels: ``(K, N)`` int64 rows: identity, class, row of the last detection in its frame, then the tracker's own.
        embeddings: ``(N, E)`` unit-length embeddings of the last detections, or None if the tracker uses none.
        next_id: Identity of the next new track.
        step: Number of frames seen.
        clock: Time in frames; equals ``step`` without timestamps.
        timestamp: Time of the last frame in seconds, or None.
    """

    values: Floats
    labels: Integers
    next_id: int = 1
    step: int = 0
    clock: float = 0.0
    timestamp: float | None = None
    embeddings: Floats | None = None

    def __len__(self) -> int:
        return self.values.shape[1]

    def copy(self) -> TrackTable:
        """Return an independent copy of the table."""
        embeddings = None if self.embeddings is None else self.embeddings.copy()
        numbers = self.next_id, self.step, self.clock, self.timestamp
        return TrackTable(self.values.copy(), self.labels.copy(), *numbers, embeddings)

    def select(self, columns: Integers) -> None:
        """Keep only the given columns, in the given order."""
        # take() keeps rows contiguous; values[:, columns] would store the table column by column and slow later steps.
        self.values = self.values.take(columns, 1)
        self.labels = self.labels.take(columns, 1)
        if self.embeddings is not None:
            self.embeddings = self.embeddings[columns]

    def append(self, values: Floats, labels: Integers, embeddings: Floats | None = None) -> None:
        """Append tracks with new identities."""
        count = values.shape[1]
        labels[ID] = np.arange(self.next_id, self.next_id + count)
        self.next_id += count
        self.values = np.concatenate([self.values, values], 1)
        self.labels = np.concatenate([self.labels, labels], 1)
        if embeddings is not None:
            self.embeddings = embeddings if self.embeddings is None else np.concatenate([self.embeddings, embeddings])


@dataclass(frozen=True)
class Preset:
    """Named parameters of a tracker, with overrides per benchmark and sequence.

    Attributes:
        values: Parameters for every input.
        benchmark: Overrides by benchmark name.
        sequence: Overrides by prefix of the sequence name.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    benchmark: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sequence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def resolve(self, benchmark: str | None, sequence: str | None) -> dict[str, Any]:
        """Return the parameters for this input; sequence overrides take precedence over benchmark overrides.

        >>> Preset({"max_age": 30}, sequence={"MOT17-05": {"max_age": 14}}).resolve("MOT17", "MOT17-05-DPM")
        {'max_age': 14}
        """
        merged = {**self.values, **self.benchmark.get(benchmark or "", {})}
        for name, values in self.sequence.items():
            if sequence is not None and sequence.startswith(name):
                merged.update(values)
        return merged


@dataclass(kw_only=True, eq=False)
class OnlineTracker(ABC):
    """Base class of the trackers that process one frame at a time.

    Args:
        frame_rate: Nominal frames per second, used to convert timestamps (seconds) into frames.
        min_area: Tracks with a box of at most this area (square pixels) are not reported.
        max_aspect: Tracks with a larger width / height than this are not reported.
        cost: Association cost between tracks and detections: a function, or a name for
            :func:`mot_core.association.read_cost`, which becomes the function.
        report: Boxes of the reported tracks: ``detection`` for their detections, ``filter`` for the filter's estimates.
    """

    PRESETS: ClassVar[Mapping[str, Preset]] = {}
    score_thresholds: ClassVar[tuple[str, ...]] = ()  # names of the parameters that are thresholds on scores in [0, 1]
    layout: ClassVar[Layout]
    table_rows: ClassVar[tuple[int, int]] = (FIRST_FREE_VALUE, FIRST_FREE_LABEL)

    frame_rate: float = 30.0
    min_area: float = 0.0
    max_aspect: float = float("inf")
    cost: AssociationCost | str = "iou"
    report: Report = "detection"
    noise: MotionNoise

    def __post_init__(self) -> None:
        self._refuse_unless(0 < self.frame_rate <= 1e9, "frame_rate", "a positive number of frames per second")
        self._refuse_unless(self.min_area >= 0, "min_area", "0 or more square pixels")
        self._refuse_unless(self.max_aspect > 0, "max_aspect", "positive")
        self._refuse_unless(self.report in get_args(Report), "report", "detection or filter")
        if isinstance(self.cost, str):
            self.cost = read_cost(self.cost)
        self._kalman = BatchedKalman(self.noise)
        self._streams: dict[Hashable, TrackTable] = {}

    def _refuse_unless(self, good: bool, name: str, rule: str) -> None:
        if not good:
            raise ValueError(f"{type(self).__name__}: {name} must be {rule}, got {getattr(self, name)!r}")

    @classmethod
    def preset(cls, name: str = "default", benchmark: str | None = None, sequence: str | None = None) -> Self:
        """Create a tracker with the parameters of a preset.

        Args:
            name: Key of ``PRESETS``.
            benchmark: Benchmark name, for presets that differ between benchmarks.
            sequence: Sequence name, for presets that differ between sequences.

        Raises:
            ValueError: If there is no such preset.
        """
        if name not in cls.PRESETS:
            raise ValueError(f"{cls.__name__} has no preset {name!r}; choose one of {', '.join(cls.PRESETS)}")
        return cls(**cls.PRESETS[name].resolve(benchmark, sequence))

    def parameters(self) -> dict[str, Any]:
        """Return the constructor arguments of this tracker by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def update(
        self,
        boxes_xyxy: Any,
        scores: Array | None = None,
        classes: Array | None = None,
        timestamp: float | None = None,
        embeddings: Array | None = None,
    ) -> Tracks:
        """Track one frame. Call it for every frame, including frames without detections.

        Args:
            boxes_xyxy: Corners of shape ``(N, 4)`` in pixels, as an array, tensor or list. Without ``scores``, the
                detections of another library, see :func:`mot_core.structures.detections_from`.
            scores: Confidences of shape ``(N,)``.
            classes: Labels of shape ``(N,)``. If given, tracks and detections of different classes never match.
            timestamp: Time of the frame in seconds, for irregular frame rates. By default, frames are equally spaced.
            embeddings: Appearance embeddings of shape ``(N, E)``, for trackers with a model trained on embeddings.

        Returns:
            The tracks seen in this frame, as arrays, or as tensors if ``boxes_xyxy`` is a tensor.

        Raises:
            ValueError: If shapes are wrong, boxes are not finite or have no area, the timestamp does not increase, or
                embeddings are missing or given to a tracker that does not use them.
        """
        if scores is None:
            given = detections_from(boxes_xyxy)
            found = replace(given, classes=given.classes if classes is None else classes, embeddings=embeddings)
        else:
            found = Detections(boxes_xyxy, scores, classes, embeddings)
        table, tracks = self._advance(0, found, timestamp)
        self._streams[0] = table
        return tracks

    def update_streams(
        self,
        frames: Mapping[Hashable, Detections],
        timestamps: Mapping[Hashable, float] | None = None,
    ) -> dict[Hashable, Tracks]:
        """Track one frame of several independent streams (cameras) in one call.

        Args:
            frames: Detections by stream name. New names start new streams; absent streams do not advance.
            timestamps: Time of the frame in seconds by stream name.

        Returns:
            Tracks by stream name, equal to those of a separate tracker per stream. Identities count per stream.
        """
        times = timestamps or {}
        advanced = {name: self._advance(name, frame, times.get(name)) for name, frame in frames.items()}
        self._streams.update((name, table) for name, (table, _) in advanced.items())
        return {name: tracks for name, (_, tracks) in advanced.items()}

    def reset(self) -> None:
        """Remove all tracks of all streams; identities start at 1 again."""
        self._streams.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the complete state as tensors and numbers (safe for ``torch.load(weights_only=True)``)."""
        import torch

        return {
            "tracker": type(self).__name__,
            "streams": {
                name: {
                    "values": torch.from_numpy(table.values.copy()),
                    "labels": torch.from_numpy(table.labels.copy()),
                    "next_id": table.next_id,
                    "step": table.step,
                    "clock": table.clock,
                    "timestamp": table.timestamp,
                    "embeddings": None if table.embeddings is None else torch.from_numpy(table.embeddings.copy()),
                }
                for name, table in self._streams.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a tracker of the same class and parameters.

        Raises:
            ValueError: If the state was saved by a tracker of another class, with other parameters or another model, or
                has been changed.
        """
        given: Any = state  # from a file, so that its type is unknown
        saved_by = repr(given.get("tracker")) if isinstance(given, Mapping) else type(given).__name__
        if saved_by != repr(type(self).__name__):
            raise ValueError(f"expected state_dict() of {type(self).__name__}, got that of {saved_by}")
        if not isinstance(state.get("streams"), Mapping):
            raise ValueError(f"streams: expected a mapping, got {type(state.get('streams')).__name__}")
        streams = {}
        for name, saved in state["streams"].items():
            table = TrackTable(**read_stream(name, saved, self._row_counts()))
            known = table.embeddings is not None and len(table) > 0
            if len(table) and known != self.uses_embeddings:
                raise ValueError(
                    f"the state of stream {name!r} has {'' if known else 'no '}embeddings; it was saved "
                    "with another model"
                )
            table.embeddings = table.embeddings if known else None
            streams[name] = table
        self._streams = streams

    @abstractmethod
    def _step(self, table: TrackTable, frame: FrameDetections, dt: float) -> tuple[Integers, Floats]:
        """Advance ``table`` by one frame; return the columns to report and their corners ``(4, K)``."""

    @property
    def uses_embeddings(self) -> bool:
        """Whether :meth:`update` requires embeddings."""
        return False

    def _row_counts(self) -> tuple[int, int]:
        return self.table_rows

    def _advance(self, name: Hashable, detections: Detections, timestamp: float | None) -> tuple[TrackTable, Tracks]:
        """Return the next table of a stream and its tracks. The old table is kept: a rejected frame has no effect."""
        frame = read_frame(
            detections.boxes_xyxy, detections.scores, detections.classes, self._given_embeddings(detections)
        )
        old = self._streams.get(name)
        if old is None:
            value_rows, label_rows = self._row_counts()
            table = TrackTable(np.zeros((value_rows, 0)), np.zeros((label_rows, 0), np.int64))
        else:
            table = old.copy()
            sizes = [each.shape[1] for each in (table.embeddings, frame.embeddings) if each is not None]
            if len(set(sizes)) > 1:
                raise ValueError(f"embeddings of this stream have {sizes[0]} numbers, those of this frame {sizes[1]}")
        dt = self._elapsed(table, timestamp)
        table.step += 1
        table.clock += dt
        columns, corners = self._step(table, frame, dt)
        if self.report == "detection":  # every reported track has a detection in this frame
            corners = frame.boxes.take(table.labels[DETECTION, columns], 1)
        if self.min_area > 0 or self.max_aspect < float("inf"):
            width, height = corners[2:] - corners[:2]
            large = (width * height > self.min_area) & (width <= self.max_aspect * height)
            columns, corners = columns[large], corners[:, large]
        labels = table.labels.take(columns, 1)
        tracks = Tracks(labels[ID], corners.T, table.values[SCORE, columns], labels[CLASS], labels[DETECTION])
        return table, write_tracks(tracks, detections.boxes_xyxy)

    def _given_embeddings(self, detections: Detections) -> Array | None:
        """Return the embeddings of a frame; they must be given if and only if the tracker uses them."""
        name, given = type(self).__name__, detections.embeddings is not None
        if given and not self.uses_embeddings:
            raise ValueError(f"{name} does not use embeddings here: leave them out")
        if self.uses_embeddings and not given and len(detections):
            raise ValueError(
                f"{name} has a model that needs embeddings: give update() an array (N, E) in Python; mot track does "
                "not support embeddings"
            )
        return detections.embeddings

    def _elapsed(self, table: TrackTable, timestamp: float | None) -> float:
        """Return the frames since the last update, and set the new time of the stream."""
        last = table.timestamp
        if timestamp is None:
            table.timestamp = None if last is None else last + 1.0 / self.frame_rate
            return 1.0
        if last is not None and not timestamp > last:
            raise ValueError(f"timestamp must increase from frame to frame (seconds), got {timestamp} after {last}")
        if not abs(timestamp) <= LATEST:
            raise ValueError(
                f"timestamp must be a finite number of seconds, at most {LATEST:g}, got {timestamp}; convert units"
            )
        table.timestamp = float(timestamp)
        if last is None:
            return 1.0
        dt = (timestamp - last) * self.frame_rate
        # Timestamps of a regular video, with or without dropped frames, carry rounding errors (a Unix time in float64:
        # 1e-5 frames). Rounding keeps results equal to those without timestamps, and ``max_age`` exact.
        whole = float(round(dt))
        return whole if whole and abs(dt - whole) < 1e-3 else dt

    def _all_costs(self, table: TrackTable, corners: Floats, frame: FrameDetections, index: Integers) -> Floats:
        """Return the costs ``(N, M)`` between all tracks at ``corners`` and all detections of ``frame``."""
        labels = table.labels
        detected = frame.classes if frame.classes is not None else np.zeros(len(frame.scores), np.int64)
        velocities = table.values[V.start : V.start + 2].T  # every layout begins with the center
        assert not isinstance(self.cost, str), "cost: names are resolved on construction; assign read_cost(name)"
        given = self.cost(
            TrackBatch(
                labels[ID],
                corners.T,
                table.values[SCORE],
                labels[CLASS],
                table.values[ELAPSED],
                labels[DETECTION],
                velocities,
            ),
            DetectionBatch(frame.boxes.T, frame.scores, detected, index),
        )
        cost = np.asarray(to_numpy(given), np.float64)
        if cost.shape != (len(table), len(frame.scores)):
            raise ValueError(
                f"cost must return shape {(len(table), len(frame.scores))} (tracks, detections), got {cost.shape}"
            )
        if frame.classes is not None:
            cost = np.where(labels[CLASS][:, None] == frame.classes, cost, 1.0)
        return cost

    def _observe(
        self, table: TrackTable, columns: Integers, frame: FrameDetections, rows: Integers, index: Integers
    ) -> None:
        """Update the tracks at ``columns`` with detection ``rows`` of ``frame``; ``index`` maps rows to the input."""
        measured = self.layout.measure(frame.boxes.take(rows, 1))
        values = table.values
        block = values[:FILTER_ROWS].take(columns, 1)
        values[:FILTER_ROWS, columns] = self._kalman.update(block, measured, self.layout.heights(block[P]))
        values[SCORE, columns] = frame.scores[rows]
        values[ELAPSED, columns] = 0.0
        table.labels[DETECTION, columns] = index[rows]
        if frame.classes is not None:
            table.labels[CLASS, columns] = frame.classes[rows]
        if frame.embeddings is not None and table.embeddings is not None:
            table.embeddings[columns] = frame.embeddings[rows]

    def _newborn(self, frame: FrameDetections, rows: Integers, index: Integers) -> tuple[Floats, Integers]:
        """Return the table columns of new tracks at detection ``rows``."""
        value_rows, label_rows = self._row_counts()
        values = np.zeros((value_rows, len(rows)))
        labels = np.zeros((label_rows, len(rows)), np.int64)
        measured = self.layout.measure(frame.boxes.take(rows, 1))
        values[:FILTER_ROWS] = self._kalman.start(measured, self.layout.heights(measured))
        values[SCORE] = frame.scores[rows]
        labels[DETECTION] = index[rows]
        if frame.classes is not None:
            labels[CLASS] = frame.classes[rows]
        return values, labels
