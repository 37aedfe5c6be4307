"""Appearance embeddings learned from motion, by distilling a trained association model into a crop network.

The teacher, a trained :class:`em_kalman.NeuralKalmanFilter`, follows objects over a window by their boxes alone. The
student receives image crops and predicts which object of the first frame each detection belongs to. It thereby learns
features that stay constant for up to nine frames, and can separate objects that boxes cannot.

Li et al., "Learning a Neural Association Network for Self-supervised Multi-Object Tracking" (arXiv 2411.11514).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from em_kalman.appearance.distill_loss import FORBIDDEN, distill_loss
from em_kalman.detections.sampler import WindowSampler
from em_kalman.detections.sequences import DetectionSequence
from em_kalman.detections.window import WindowBatch
from em_kalman.model import NeuralKalmanFilter
from mot_core.nn import SmallBackbone, TimmBackbone

Images: TypeAlias = Callable[[int], Any]
"""Callable that maps a frame number to its image, ``(H, W, 3)`` uint8."""

CROP_SIZE = (128, 64)  # height and width
# ImageNet statistics of RGB values in [0, 1], as expected by timm backbones.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class AppearanceNetwork(nn.Module):
    """Unit-length embeddings of object crops: the spatial mean of a backbone's last feature map.

    Args:
        backbone: Name of the backbone: "small" (0.3 million parameters) or "timm:NAME".
        pretrained: Whether timm downloads pretrained weights; ignored for "small".

    Raises:
        ValueError: If the backbone has another name.

    >>> network = AppearanceNetwork()
    >>> embeddings = network(torch.rand(3, 3, 128, 64))
    >>> embeddings.shape, round(embeddings[0].norm().item(), 3)
    (torch.Size([3, 128]), 1.0)
    """

    def __init__(self, backbone: str = "small", pretrained: bool = False) -> None:
        super().__init__()
        if backbone != "small" and not backbone.startswith("timm:"):
            raise ValueError(f"backbone must be 'small' or 'timm:NAME', got {backbone!r}")
        self.backbone = (
            SmallBackbone() if backbone == "small" else TimmBackbone(backbone.removeprefix("timm:"), pretrained)
        )

    # Typed for the caller: nn.Module would return Any.
    __call__: Callable[..., Tensor]

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops from :func:`crop_boxes`, ``(N, 3, 128, 64)``, to embeddings ``(N, C)``."""
        return F.normalize(self.backbone(crops)[-1].mean((-1, -2)), dim=-1)


def crop_boxes(image: Any, boxes_xyxy: Any) -> Tensor:
    """Crop boxes from an image, resize them to 128 x 64 pixels and normalize them with ImageNet statistics.

    Args:
        image: Image as an array or CPU tensor, ``(H, W, 3)`` uint8.
        boxes_xyxy: Box corners in pixels, ``(N, 4)``; parts outside the image are cut off.

    Returns:
        Crops ``(N, 3, 128, 64)``; 0 for boxes that lie entirely outside the image.

    >>> image = np.zeros((100, 100, 3), np.uint8)
    >>> image[:, 50:] = 255
    >>> crops = crop_boxes(image, [[0, 0, 40, 80], [60, 0, 120, 80]])
    >>> [round(value, 2) for value in crops.mean((2, 3))[:, 0].tolist()]
    [-2.12, 2.25]
    """
    pixels = torch.tensor(np.asarray(image))  # copy, because a decoded image may be read-only
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image must have shape (H, W, 3), got {tuple(pixels.shape)}")
    height, width = pixels.shape[:2]
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    crops = torch.zeros(len(boxes_xyxy), 3, *CROP_SIZE)
    for crop, box in zip(crops, np.asarray(boxes_xyxy).tolist(), strict=True):
        x1, y1, x2, y2 = (round(value) for value in box)
        part = pixels[max(y1, 0) : min(max(y2, y1 + 1), height), max(x1, 0) : min(max(x2, x1 + 1), width)]
        if part.numel():
            resized = F.interpolate(part.permute(2, 0, 1)[None] / 255, CROP_SIZE, mode="bilinear", antialias=True)
            crop.copy_((resized[0] - mean) / std)
    return crops


def _window_embeddings(student: AppearanceNetwork, batch: WindowBatch, images: Images) -> Tensor:
    """Return embeddings ``(1, T, N, C)`` of the detections of one window; 0 where padded."""
    device = next(student.parameters()).device
    frames = zip(batch.frames[0].tolist(), batch.boxes_xyxy[0], batch.valid[0], strict=True)
    crops = torch.cat([crop_boxes(images(number), boxes[real]) for number, boxes, real in frames])
    found = student(crops.to(device))
    values = found.new_zeros(*batch.valid.shape, found.shape[-1])
    values[batch.valid] = found
    return values


def _window_loss(student: AppearanceNetwork, assoc: Tensor, batch: WindowBatch, images: Images) -> Tensor:
    """Compute the distillation loss of one window.

    Args:
        student: Network to train.
        assoc: Association probabilities of the teacher, ``(1, T, K, N)``.
        batch: A single window.
        images: Callable that reads a frame.

    Returns:
        Mean Kullback-Leibler divergence per detection, in nats.
    """
    embeddings = _window_embeddings(student, batch, images)
    logits = embeddings[:, :1] @ embeddings[:, 1:].transpose(-1, -2) / 0.1
    logits = logits.masked_fill(~batch.valid[:, :1, :, None], FORBIDDEN)
    return distill_loss(logits, assoc[:, 1:], batch.valid[:, 1:])


def distill(
    student: AppearanceNetwork,
    teacher: NeuralKalmanFilter,
    videos: Sequence[tuple[DetectionSequence, Images]],
    *,
    epochs: int = 3,
    lr: float = 1e-4,
    stride: int = 10,
    seed: int = 0,
    report: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train a student to predict the associations of a trained model, without reading identities.

    Every step of Adam processes one window.

    Args:
        student: Network to train; modified in place, on its own device.
        teacher: Trained association model.
        videos: Pairs of detections and a callable that reads a frame by its number.
        epochs: Number of passes over all windows.
        lr: Learning rate.
        stride: Frames between the starts of consecutive windows.
        seed: Seed for the order of the windows.
        report: Callable that receives the record of every epoch when it ends.

    Returns:
        One record per epoch: ``epoch`` and ``loss``, in nats per detection.

    Raises:
        ValueError: If there are no windows.

    >>> from mot_core.io import make_scene
    >>> scene = make_scene(num_objects=4, num_frames=20, image_size=(120, 160))
    >>> street = DetectionSequence("street", scene.detections, range(1, 21), scene.image_size)
    >>> def noise(number):
    ...     return np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)
    >>> [line["epoch"] for line in distill(AppearanceNetwork(), NeuralKalmanFilter(), [(street, noise)], epochs=1)]
    [0]
    """
    windows = [
        (window, images)
        for sequence, images in videos
        for window in _all(WindowSampler([sequence], stride=stride, seed=seed))
    ]
    if not windows:
        raise ValueError("videos: expected a window of 10 frames with detections, got none; use longer videos")
    teaching = next(teacher.parameters()).device
    device = next(student.parameters()).device
    with torch.no_grad():
        lessons = [teacher(window.to(teaching)).assoc.to(device) for window, _ in windows]
    optimizer = torch.optim.Adam(student.parameters(), lr)
    rng, history = torch.Generator().manual_seed(seed), []
    student.train()
    for epoch in range(epochs):
        total = 0.0
        for index in torch.randperm(len(windows), generator=rng).tolist():
            window, images = windows[index]
            loss = _window_loss(student, lessons[index], window.to(device), images)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += loss.item()
        history.append({"epoch": epoch, "loss": total / len(windows)})
        if report is not None:
            report(history[-1])
    student.eval()
    return history


@torch.no_grad()
def embed_detections(student: AppearanceNetwork, sequence: DetectionSequence, images: Images) -> Tensor:
    """Return embeddings ``(rows, C)`` of all detections of a sequence, in the order of its table.

    Detections outside the frames of the sequence get 0.

    >>> from mot_core.io import BoxTable
    >>> table = BoxTable([1, 1, 2], [-1, -1, -1], [[0, 0, 20, 40], [20, 0, 40, 40], [0, 0, 20, 40]])
    >>> street = DetectionSequence("street", table, range(1, 3), (48, 64))
    >>> embed_detections(AppearanceNetwork().eval(), street, lambda number: np.zeros((48, 64, 3), np.uint8)).shape
    torch.Size([3, 128])
    """
    device = next(student.parameters()).device
    parts = []
    for number in sequence.frames:
        rows = sequence.table.frame(number)
        if rows.stop > rows.start:
            parts.append((rows, student(crop_boxes(images(number), sequence.table.boxes_xyxy[rows]).to(device))))
    size = parts[0][1].shape[-1] if parts else 0
    values = torch.zeros(len(sequence.table), size, device=device)
    for rows, found in parts:
        values[rows] = found
    return values


def _all(windows: WindowSampler) -> list[WindowBatch]:
    return [windows[index] for index in range(len(windows))]
