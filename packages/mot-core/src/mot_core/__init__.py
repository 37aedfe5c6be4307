"""mot-core: read, track, score and train multi-object tracking.

The names below are loaded on first use, so that ``import mot_core`` and ``mot --help`` stay fast.

>>> import mot_core
>>> tracker = mot_core.ByteTrack()
>>> tracks = tracker.update([[10, 10, 50, 90]], [0.9])
>>> tracks.ids
array([1])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mot_core.association import ByteTrack, OCSort, Sort
    from mot_core.streams import track
    from mot_core.structures import Detections, Tracks, detections_from

__version__ = "0.1.0"
__all__ = ["ByteTrack", "Detections", "OCSort", "Sort", "Tracks", "__version__", "detections_from", "track"]

_HOME = {
    "ByteTrack": "mot_core.association",
    "OCSort": "mot_core.association",
    "Sort": "mot_core.association",
    "Detections": "mot_core.structures",
    "Tracks": "mot_core.structures",
    "detections_from": "mot_core.structures",
    "track": "mot_core.streams",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mot_core' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
