"""Detectors in ONNX files, run by ONNX Runtime."""

from __future__ import annotations

import ast
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mot_core.detectors.coco import COCO_CLASSES
from mot_core.detectors.layouts import LAYOUTS, recognize_layout
from mot_core.detectors.letterbox import letterbox
from mot_core.detectors.protocol import Image
from mot_core.extras import needs
from mot_core.io.problems import require_file
from mot_core.structures import Detections

DEFAULT_SIZE = (640, 640)
"""Height and width of the input of models that accept any."""


class OnnxDetector:
    """Detector in an ONNX file: YOLOX, YOLOv8 and YOLO11, RT-DETR or D-FINE, as their projects export them.

    Args:
        path: ONNX file.
        layout: Name in :data:`mot_core.detectors.layouts.LAYOUTS`. None recognizes it by names and shapes of the
            outputs.

    Attributes:
        class_names: Names by class number: those in the metadata of the file, or COCO's for a model of 80 classes.
        size: Height and width of the input.

    Raises:
        FileNotFoundError: If the file does not exist.
        ModuleNotFoundError: If ONNX Runtime is not installed.
        ValueError: If ONNX Runtime cannot run the file, its input is not an image, or no layout has its outputs.
    """

    def __init__(self, path: str | PathLike[str], layout: str | None = None) -> None:
        if layout is not None and layout not in LAYOUTS:
            raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
        self.path = Path(path)
        require_file(self.path, "ONNX")
        with needs("onnxruntime", "onnx", "a detector in an ONNX file"):
            import onnxruntime
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3  # its warnings about a model are for those who exported it
        try:
            providers = onnxruntime.get_available_providers()
            self._session = onnxruntime.InferenceSession(str(self.path), settings, providers=providers)
        except Exception as error:  # ONNX Runtime raises many types
            raise ValueError(
                f"{path}: expected a model that ONNX Runtime {onnxruntime.__version__} can run, got "
                f"{_first_line(error)}; export it again with an older opset, such as 18"
            ) from error
        first, *others = self._session.get_inputs()
        shape = first.shape
        if first.type not in ("tensor(float)", "tensor(float16)") or len(shape) != 4 or shape[1] not in (3, None, "C"):
            raise ValueError(
                f"{path}: expected an input (1, 3, H, W) of floating-point numbers, got {first.name} {shape} of "
                f"{first.type}; export it with images as input"
            )
        self._name = first.name
        self._dtype = np.float16 if first.type == "tensor(float16)" else np.float32
        self._sizes = [one.name for one in others]  # RT-DETR and D-FINE take the size of the image as well
        height, width = (
            one if isinstance(one, int) else default for one, default in zip(shape[2:], DEFAULT_SIZE, strict=True)
        )
        self.size = height, width
        self._layout = layout
        names = self._session.get_modelmeta().custom_metadata_map.get("names")
        self.class_names = _read_names(names) or self._coco_names()
        if layout is None:  # recognized here, so that a model of another kind is rejected before the first frame
            shapes = {one.name: _known_shape(one.shape) for one in self._session.get_outputs()}
            if None not in shapes.values():
                self._layout = self._recognize(shapes)

    def __call__(self, images: list[Image], /) -> list[Detections]:
        """Return the detections of each image, with scores of at least ``LOWEST_SCORE``."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> Detections:
        if self._layout is None:  # outputs of unknown shape: try on a black image
            blank = letterbox(np.zeros((*self.size, 3), np.uint8), self.size, "stretch")
            outputs = self._run(LAYOUTS["detr"].input(blank), self.size)
            self._layout = self._recognize({name: array.shape for name, array in outputs.items()})
        layout = LAYOUTS[self._layout]
        box = letterbox(image, self.size, layout.placement)
        outputs = self._run(layout.input(box), box.image_size)
        try:
            boxes, scores, classes = layout.decode(outputs, box)
        except (ValueError, KeyError, IndexError) as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
            raise ValueError(
                f"{self.path}: expected outputs of layout {self._layout}, got {shapes}; choose another layout"
            ) from error
        return Detections(boxes, scores, classes)

    def _run(self, pixels: Any, image_size: tuple[int, int]) -> dict[str, Any]:
        import onnxruntime

        size = np.array([[image_size[1], image_size[0]]], np.int64)
        feed = {self._name: pixels.astype(self._dtype)} | dict.fromkeys(self._sizes, size)
        names = [one.name for one in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, feed), strict=True))
        except Exception as error:
            raise ValueError(
                f"{self.path}: ONNX Runtime {onnxruntime.__version__} failed on an input {pixels.shape}: "
                f"{_first_line(error)}; export it with a fixed input size"
            ) from error

    def _recognize(self, shapes: dict[str, Any]) -> str:
        try:
            return recognize_layout(shapes, self.size)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _coco_names(self) -> dict[int, str]:
        """Return the names of COCO if an output has the width of 80 classes."""
        widths = {width for one in self._session.get_outputs() for width in one.shape if isinstance(width, int)}
        return dict(enumerate(COCO_CLASSES)) if widths & {80, 84, 85} else {}


def _known_shape(shape: list[Any]) -> Any:
    """Return a shape, or None if more than the number of images is unknown."""
    return (1, *shape[1:]) if all(isinstance(one, int) for one in shape[1:]) else None


def _read_names(text: str | None) -> dict[int, str]:
    """Return the names in the metadata that YOLO exports have: a dict or list as a Python literal."""
    try:
        names = ast.literal_eval(text or "")
    except (ValueError, SyntaxError):
        return {}
    if isinstance(names, list):
        names = dict(enumerate(names))
    return {int(number): str(name) for number, name in names.items()} if isinstance(names, dict) else {}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300].rstrip(".")
