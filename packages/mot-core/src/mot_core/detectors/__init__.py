"""Object detectors in front of a tracker of detections: one protocol, found by entry point or as any Python callable.

>>> from mot_core.detectors import installed_detectors
>>> sorted({"onnx", "transformers"} & set(installed_detectors()))
['onnx', 'transformers']
"""

from mot_core.detectors.protocol import Detector, class_numbers, detect
from mot_core.detectors.registry import installed_detectors, load_detector

__all__ = ["Detector", "class_numbers", "detect", "installed_detectors", "load_detector"]
