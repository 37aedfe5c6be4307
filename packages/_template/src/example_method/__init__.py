"""One-line description of the method.

>>> import torch
>>> from example_method import track_smoothness
>>> track_smoothness(torch.zeros(3, 1, 4)).item()
0.0
"""

from example_method.plugin import TrackSmoothnessPlugin
from example_method.smoothness import TrackSmoothness, track_smoothness

__version__ = "0.1.0"
__all__ = ["TrackSmoothness", "TrackSmoothnessPlugin", "__version__", "track_smoothness"]
