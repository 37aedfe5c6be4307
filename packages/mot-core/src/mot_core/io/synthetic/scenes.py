"""Crowded synthetic scenes with ground truth: pedestrians cross, occlude each other and are missed by a detector."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from mot_core.boxes import box_area
from mot_core.io.seqinfo import SeqInfo, write_seqinfo
from mot_core.io.synthetic.walkers import Camera, Walkers
from mot_core.io.table import BoxTable, Floats, Ints
from mot_core.io.writer import write_mot

SMALLEST_SHARE = 0.25  # minimum fraction of a box inside the image for ground truth
HIDDEN_BELOW = 0.1  # visible fraction up to which nothing is detected
BURST_CHANCE, BURST_FRAMES = 0.004, 8  # chance of a series of misses per person and frame, and its mean length
MEMORY = 0.8  # correlation of detector errors between consecutive frames


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """A synthetic sequence.

    Attributes:
        ground_truth: Boxes with conf and class 1, and ``visibility`` from the depth order.
        detections: Boxes with scores and id -1, with misses, jitter and false alarms.
        num_frames: Number of frames, counted from 1.
        image_size: (height, width) in pixels.
        frame_rate: Frames per second.
    """

    ground_truth: BoxTable
    detections: BoxTable
    num_frames: int
    image_size: tuple[int, int]
    frame_rate: float

    def save(self, root: str | PathLike[str], name: str = "synthetic") -> Path:
        """Write the scene as a sequence folder in the MOTChallenge layout (benchmark ``generic``).

        Args:
            root: Folder of sequences, created if missing.
            name: Name of the sequence.

        Returns:
            The folder ``root/name`` with ``seqinfo.ini``, ``gt/gt.txt`` and ``det/det.txt``.

        >>> import tempfile
        >>> folder = make_scene(num_objects=3, num_frames=20).save(tempfile.mkdtemp(), "crossing")
        >>> sorted(path.name for path in folder.iterdir())
        ['det', 'gt', 'seqinfo.ini']
        """
        folder = Path(root) / name
        write_mot(folder / "gt" / "gt.txt", self.ground_truth, kind="ground_truth", decimals=2)
        write_mot(folder / "det" / "det.txt", self.detections, kind="detections", decimals=2)
        info = SeqInfo(name=name, frame_rate=self.frame_rate, length=self.num_frames, image_size=self.image_size)
        write_seqinfo(folder / "seqinfo.ini", info)
        return folder


def make_scene(
    seed: int = 0,
    num_objects: int = 20,
    num_frames: int = 300,
    image_size: tuple[int, int] = (1080, 1920),
    frame_rate: float = 30.0,
    *,
    camera_height: float = 3.5,
    miss_rate: float = 0.02,
    clutter: float = 0.05,
    box_noise: float = 0.03,
) -> SyntheticScene:
    """Simulate people who walk over a square, viewed by a static camera and a noisy detector.

    People walk smoothly at about 1.3 m/s, change direction now and then, and are replaced by new identities at the
    border when they leave the view. Closer people occlude those behind: the less of a person is visible, the lower and
    noisier the score and the less accurate the box, down to a miss. This separates trackers that use weak detections
    from those that do not. Misses also occur in series of about 8 frames. On average there are about 0.85 detections
    per object and frame.

    The same arguments give the same scene on every machine; boxes are rounded to 0.01 pixels and scores to 0.001.

    Args:
        seed: Seed of the random numbers.
        num_objects: Number of people in the scene at a time.
        num_frames: Number of frames.
        image_size: (height, width) in pixels.
        frame_rate: Frames per second.
        camera_height: Height of the camera in meters. A higher camera views more ground, with smaller people who
            occlude each other less; about 7 suits scenes of 100 people and more.
        miss_rate: Probability that a fully visible person is missed in a frame.
        clutter: Mean number of false detections per frame and object.
        box_noise: Standard deviation of box edges as a fraction of the box size.

    Returns:
        Ground truth and detections of the scene.

    Raises:
        ValueError: If an argument is out of range.

    >>> scene = make_scene(seed=1, num_objects=10, num_frames=50)
    >>> len(scene.ground_truth), len(scene.detections)
    (500, 499)
    """
    _check(num_objects, num_frames, image_size, frame_rate, camera_height, miss_rate, clutter, box_noise)
    rng = np.random.default_rng(seed)
    camera = Camera(image_size, camera_height)
    walkers = Walkers(num_objects, camera, frame_rate, rng)
    detector = _Detector(num_objects, camera, rng, miss_rate, clutter, box_noise)
    truth: list[BoxTable] = []
    found: list[BoxTable] = []
    for frame in range(1, num_frames + 1):
        boxes, depths = walkers.boxes_and_depths()
        inside = _share_inside(boxes, image_size)
        visible = inside * _share_uncovered(boxes, depths)
        keep = inside >= SMALLEST_SHARE
        truth.append(_truth(frame, walkers.ids[keep], boxes[keep], visible[keep]))
        found.append(_detections(frame, *detector.detect(boxes, np.where(keep, visible, 0.0), walkers.is_new)))
        walkers.step()
    return SyntheticScene(BoxTable.concatenate(truth), BoxTable.concatenate(found), num_frames, image_size, frame_rate)


class _Detector:
    """Detector errors, one slot per person, correlated over frames."""

    def __init__(
        self, num: int, camera: Camera, rng: np.random.Generator, miss_rate: float, clutter: float, box_noise: float
    ) -> None:
        self.camera, self.rng = camera, rng
        self.miss_rate, self.clutter, self.box_noise = miss_rate, clutter, box_noise
        self.edge_error = rng.standard_normal((num, 4))
        self.score_error = rng.standard_normal(num)
        self.in_burst = np.zeros(num, bool)

    def detect(self, boxes: Floats, visible: Floats, is_new: np.ndarray) -> tuple[Floats, Floats]:
        """Return boxes and scores of one frame, with true and false ones mixed."""
        rng, num = self.rng, len(boxes)
        fresh = (1 - MEMORY**2) ** 0.5
        self.edge_error = MEMORY * self.edge_error + fresh * rng.standard_normal((num, 4))
        self.score_error = MEMORY * self.score_error + fresh * rng.standard_normal(num)
        chance = rng.random(num)
        self.in_burst = np.where(self.in_burst, chance > 1 / BURST_FRAMES, chance < BURST_CHANCE) & ~is_new

        # Rises from 0 for hidden people to 1 for mostly visible ones.
        quality = np.clip((visible - HIDDEN_BELOW) / (0.8 - HIDDEN_BELOW), 0, 1)
        missed = rng.random(num) < self.miss_rate + (1 - self.miss_rate) * (1 - quality) ** 3
        scores = 0.15 + 0.78 * quality + (0.03 + 0.09 * (1 - quality)) * self.score_error
        hit = ~missed & ~self.in_burst & (visible > HIDDEN_BELOW)
        size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        noisy = boxes + self.box_noise * (1.5 - quality)[:, None] * size * self.edge_error
        false_boxes, false_scores = self._false_alarms(num)
        all_boxes = np.concatenate([noisy[hit], false_boxes])
        all_scores = np.concatenate([scores[hit].clip(0.05, 0.99), false_scores])
        order = rng.permutation(len(all_scores))
        return all_boxes[order], all_scores[order]

    def _false_alarms(self, num: int) -> tuple[Floats, Floats]:
        count = self.rng.poisson(self.clutter * num)
        boxes = self.camera.project(*self.camera.random_positions(count, self.rng), 1.2 + 0.8 * self.rng.random(count))
        # Mostly weak, with a few as strong as true detections.
        return boxes, 0.05 + 0.85 * self.rng.random(count) ** 2


def _share_inside(boxes: Floats, image_size: tuple[int, int]) -> Floats:
    height, width = image_size
    clipped = boxes.clip(0, [width, height, width, height])
    return np.asarray(box_area(clipped) / box_area(boxes))


def _share_uncovered(boxes: Floats, depths: Floats) -> Floats:
    """Return the fraction of each box not covered by closer boxes, assuming independent covers."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    covered = (high - low).clip(0).prod(-1) / box_area(boxes)[:, None]
    covered[depths[None, :] >= depths[:, None]] = 0
    return np.asarray((1 - covered).prod(1))


def _truth(frame: int, ids: Ints, boxes: Floats, visible: Floats) -> BoxTable:
    ones = np.ones(len(ids))
    return BoxTable(np.full(len(ids), frame), ids, boxes.round(2), ones, ones.astype(np.int64), visible.round(3))


def _detections(frame: int, boxes: Floats, scores: Floats) -> BoxTable:
    ids = np.full(len(boxes), -1)
    return BoxTable(np.full(len(boxes), frame), ids, boxes.round(2), scores.round(3))


def _check(
    num_objects: int,
    num_frames: int,
    image_size: tuple[int, int],
    frame_rate: float,
    camera_height: float,
    miss_rate: float,
    clutter: float,
    box_noise: float,
) -> None:
    if num_objects < 0 or num_frames < 1:
        raise ValueError(f"make_scene needs num_objects >= 0 and num_frames >= 1, got {num_objects} and {num_frames}")
    if min(image_size) < 32:
        raise ValueError(f"image_size must be (height, width) of at least 32 pixels, got {image_size}")
    for name, value, least, most in (
        ("frame_rate", frame_rate, 1, 1000),
        ("camera_height", camera_height, 2.5, 100),
        ("miss_rate", miss_rate, 0, 1),
        ("clutter", clutter, 0, 100),
        ("box_noise", box_noise, 0, 0.1),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name} must be between {least} and {most}, got {value}")
