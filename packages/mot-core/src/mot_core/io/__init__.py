"""Reading and writing sequences, ground truth, detections and results; benchmark rules; synthetic scenes.

Everything here works with the base install and on NumPy arrays. Boxes are ``xyxy`` in pixels, ``image_size`` is
(height, width), and frames have the numbers of the files.
"""

from mot_core.io._check_sequence import SequenceSummary
from mot_core.io.atomic import open_atomic
from mot_core.io.benchmarks import BENCHMARKS, KITTI_CLASSES, Benchmark, EvaluatedClass, get_benchmark
from mot_core.io.checks import CheckReport, check
from mot_core.io.find import find_sequences
from mot_core.io.guess import guess_benchmark
from mot_core.io.images import read_image, read_image_size
from mot_core.io.kitti import read_kitti
from mot_core.io.mot import read_mot
from mot_core.io.problems import DataError, Problem
from mot_core.io.sequence import Sequence
from mot_core.io.synthetic import SyntheticScene, make_scene
from mot_core.io.table import BoxTable
from mot_core.io.writer import KittiResultWriter, ResultWriter, write_mot

__all__ = [
    "BENCHMARKS",
    "KITTI_CLASSES",
    "Benchmark",
    "BoxTable",
    "CheckReport",
    "DataError",
    "EvaluatedClass",
    "KittiResultWriter",
    "Problem",
    "ResultWriter",
    "Sequence",
    "SequenceSummary",
    "SyntheticScene",
    "check",
    "find_sequences",
    "get_benchmark",
    "guess_benchmark",
    "make_scene",
    "open_atomic",
    "read_image",
    "read_image_size",
    "read_kitti",
    "read_mot",
    "write_mot",
]
