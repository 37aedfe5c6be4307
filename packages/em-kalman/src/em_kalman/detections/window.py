"""Batches of windows of unlabeled detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BY_DETECTION = ("boxes_xyxy", "valid", "embeddings", "gt_ids")


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Detections of ``B`` windows of ``T`` frames, padded to ``N`` per frame.

    Attributes:
        boxes_xyxy: Box corners in pixels, ``(B, T, N, 4)``; padded entries may hold any value.
        valid: Mask ``(B, T, N)`` bool, False where padded.
        image_size: Image height and width in pixels, ``(B, 2)``.
        frames: Frame numbers, ``(B, T)`` int64.
        embeddings: Appearance embeddings ``(B, T, N, E)``, or None.
        gt_ids: Identities ``(B, T, N)`` int64, -1 where unknown, or None. Used by metrics only; no loss reads them.

    Raises:
        ValueError: If a shape is wrong, the image size is missing, or there are fewer than two frames.

    >>> batch = WindowBatch(torch.zeros(1, 3, 5, 4), torch.ones(1, 3, 5).bool(), torch.tensor([[480, 640]]),
    ...     torch.arange(3)[None])
    >>> batch.boxes_xyxy.shape[2]
    5
    """

    boxes_xyxy: Tensor
    valid: Tensor
    image_size: Tensor
    frames: Tensor
    embeddings: Tensor | None = None
    gt_ids: Tensor | None = None

    def __post_init__(self) -> None:
        boxes = self.boxes_xyxy
        if boxes.ndim != 4 or boxes.shape[-1] != 4:
            raise ValueError(f"boxes_xyxy must have shape (B, T, N, 4), got {tuple(boxes.shape)}")
        if self.image_size is None:
            raise ValueError("image_size: expected (B, 2) height and width, which set the clutter density, got None")
        batch, frames, detections = boxes.shape[:3]
        if frames < 2:
            raise ValueError(f"boxes_xyxy: expected windows of at least 2 frames, got {frames}")
        for name, shape in (
            ("valid", (batch, frames, detections)),
            ("image_size", (batch, 2)),
            ("frames", (batch, frames)),
            ("gt_ids", (batch, frames, detections)),
        ):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
        shape = (batch, frames, detections)
        if self.embeddings is not None and tuple(self.embeddings.shape[:-1]) != shape:
            raise ValueError(f"embeddings must have shape {(*shape, 'E')}, got {tuple(self.embeddings.shape)}")

    def to(self, device: Any) -> WindowBatch:
        """Return a copy on another device; Lightning calls this method.

        >>> batch = WindowBatch(torch.zeros(1, 2, 1, 4), torch.ones(1, 2, 1).bool(), torch.ones(1, 2), torch.ones(1, 2))
        >>> batch.to("cpu").valid.device.type
        'cpu'
        """
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in values.items()}
        return WindowBatch(**moved)

    def first_frames(self, count: int) -> WindowBatch:
        """Return the windows cut to their first ``count`` frames.

        >>> batch = WindowBatch(torch.zeros(1, 5, 1, 4), torch.ones(1, 5, 1).bool(), torch.ones(1, 2), torch.ones(1, 5))
        >>> batch.first_frames(2).frames.shape
        torch.Size([1, 2])
        """
        names = [name for name in (*BY_DETECTION, "frames") if getattr(self, name) is not None]
        changes: dict[str, Any] = {name: getattr(self, name)[:, :count] for name in names}
        return replace(self, **changes)

    @staticmethod
    def stack(windows: Sequence[WindowBatch]) -> WindowBatch:
        """Join windows into one batch, padded to the largest number of detections; a ``collate_fn`` for DataLoader.

        >>> def window(count):
        ...     boxes, valid = torch.zeros(1, 2, count, 4), torch.ones(1, 2, count).bool()
        ...     return WindowBatch(boxes, valid, torch.ones(1, 2), torch.ones(1, 2))
        >>> WindowBatch.stack([window(3), window(5)]).valid.sum((1, 2)).tolist()
        [6, 10]
        """
        if not windows:
            raise ValueError("windows: expected at least one window, got none")
        size = max(window.valid.shape[2] for window in windows)
        values: dict[str, Any] = {}
        for field in fields(WindowBatch):
            parts = [getattr(window, field.name) for window in windows]
            if any(part is None for part in parts):
                values[field.name] = None
                continue
            if field.name in BY_DETECTION:
                parts = [_pad(part, size, -1 if field.name == "gt_ids" else 0) for part in parts]
            values[field.name] = torch.cat(parts)
        return WindowBatch(**values)


def _pad(value: Tensor, size: int, filling: int) -> Tensor:
    """Pad ``(B, T, N, ...)`` to ``(B, T, size, ...)``."""
    after = [0, 0] * (value.ndim - 3)
    return F.pad(value, [*after, 0, size - value.shape[2]], value=filling)
