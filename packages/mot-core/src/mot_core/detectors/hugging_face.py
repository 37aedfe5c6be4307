"""Object detectors of the library transformers, from a folder on disk."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mot_core.detectors.layouts import LOWEST_SCORE
from mot_core.detectors.protocol import Image
from mot_core.extras import needs
from mot_core.structures import Detections


class TransformersDetector:
    """Detector saved by ``save_pretrained`` of transformers: model and image processor in one folder.

    Args:
        folder: Folder with ``config.json``, weights and ``preprocessor_config.json``. Nothing is downloaded.

    Attributes:
        class_names: Names by class number in the configuration.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ModuleNotFoundError: If transformers is not installed.
        ValueError: If the folder does not hold an object detector.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        path = Path(folder)
        if not path.is_dir():
            raise FileNotFoundError(f"detector: expected a folder of save_pretrained, found none at {folder}")
        with needs("transformers", "transformers", "a detector of transformers"):
            from transformers import AutoImageProcessor, AutoModelForObjectDetection
        try:
            self._processor: Any = AutoImageProcessor.from_pretrained(path, local_files_only=True)
            model: Any = AutoModelForObjectDetection.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:300]
            raise ValueError(
                f"{folder}: expected an object detector and its image processor of save_pretrained, got {reason}; "
                "save both into this folder"
            ) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self.class_names = {int(number): str(name) for number, name in model.config.id2label.items()}

    @torch.no_grad()
    def __call__(self, images: list[Image], /) -> list[Detections]:
        """Return the detections of each image, with scores of at least ``LOWEST_SCORE``."""
        inputs = self._processor(images=images, return_tensors="pt").to(self._device)
        sizes = [image.shape[:2] for image in images]
        found = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=LOWEST_SCORE, target_sizes=sizes
        )
        return [
            Detections(
                np.asarray(one["boxes"].cpu(), np.float64),
                np.asarray(one["scores"].cpu(), np.float64),
                np.asarray(one["labels"].cpu(), np.int64),
            )
            for one in found
        ]
