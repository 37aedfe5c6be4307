"""The protocol of a detector, and a call of it that checks and filters what it returns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mot_core.structures import Detections, detections_from, to_numpy
from mot_core.suggestions import suggest_name

Image = npt.NDArray[np.uint8]
"""A frame, ``(H, W, 3)`` uint8 RGB."""


class Detector(Protocol):
    """Anything that detects objects in images.

    A detector may have an attribute ``class_names``, a mapping from class numbers to names, which makes its classes
    selectable by name. It may return anything that :func:`mot_core.structures.detections_from` accepts.
    """

    def __call__(self, images: list[Image], /) -> Sequence[Any]:
        """Return the detections of each image, with boxes in pixels of that image."""


def detect(detector: Detector, image: Image, classes: Collection[int] | None = None) -> Detections:
    """Run a detector on one image, and return its detections as arrays, without boxes that have no area.

    Args:
        detector: Detector.
        image: Image ``(H, W, 3)`` uint8 RGB.
        classes: Class numbers to keep. None keeps all.

    Raises:
        ValueError: If the detector returns another number of results, or values that are not finite.

    >>> class Fixed:
    ...     def __call__(self, images):
    ...         return [np.array([[1, 1, 9, 9, 0.8, 0], [2, 2, 2, 5, 0.7, 1], [3, 1, 8, 9, 0.6, 2]]) for _ in images]
    >>> detect(Fixed(), np.zeros((10, 10, 3), np.uint8), classes={0, 1}).scores
    array([0.8])
    """
    results = list(detector([image]))
    if len(results) != 1:
        raise ValueError(f"detector: expected one result per image, got {len(results)} for 1 image; correct it")
    found = detections_from(results[0])
    boxes = np.asarray(to_numpy(found.boxes_xyxy), np.float64).reshape(-1, 4)
    scores = np.asarray(to_numpy(found.scores), np.float64)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("detector: expected finite boxes and scores, got NaN or infinity; check the model")
    labels = None if found.classes is None else np.asarray(to_numpy(found.classes)).astype(np.int64)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    if classes is not None:
        if labels is None and len(boxes):
            raise ValueError("classes: expected a detector that returns classes, got one without; keep all")
        kept &= np.isin([] if labels is None else labels, list(classes))
    return Detections(boxes[kept], scores[kept], None if labels is None else labels[kept])


def class_numbers(detector: Detector, classes: Sequence[str | int] | None) -> set[int] | None:
    """Return the numbers of classes given by name or number; None for None.

    Raises:
        ValueError: If the detector has no class of a name; the message proposes the nearest.

    >>> class Named:
    ...     class_names = {0: "person", 2: "car"}
    ...     def __call__(self, images): ...
    >>> class_numbers(Named(), ["car", "0"])
    {0, 2}
    """
    if classes is None:
        return None
    names: Mapping[int, str] = getattr(detector, "class_names", None) or {}
    numbers = {name.lower(): int(number) for number, name in names.items()}
    chosen = set()
    for one in classes:
        text = str(one).strip().lower()
        if text in numbers:
            chosen.add(numbers[text])
        elif text.isdecimal():
            chosen.add(int(text))
        else:
            hint = suggest_name(text, numbers, "its classes") if numbers else "it has no class_names, so give numbers"
            raise ValueError(f"classes: expected classes of the detector, got {one!r}; {hint}")
    return chosen
