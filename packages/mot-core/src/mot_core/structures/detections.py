"""Detections and tracks of one frame: plain dataclasses of arrays or tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A NumPy array or a tensor. (With a union, type checkers would reject every operation on it.)"""

Index: TypeAlias = Any
"""Any row selection: a boolean mask, integer positions or a slice."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one frame; all fields have the same length ``N``.

    Attributes:
        boxes_xyxy: Corners of shape ``(N, 4)`` in pixels.
        scores: Confidences of shape ``(N,)``.
        classes: Integer class labels of shape ``(N,)``, or None if there is only one class.
        embeddings: Appearance embeddings of shape ``(N, E)``, or None.

    >>> len(Detections(np.zeros((3, 4)), np.ones(3)))
    3
    """

    boxes_xyxy: Array
    scores: Array
    classes: Array | None = None
    embeddings: Array | None = None

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, rows: Index) -> Detections:
        classes, embeddings = (None if each is None else each[rows] for each in (self.classes, self.embeddings))
        return Detections(self.boxes_xyxy[rows], self.scores[rows], classes, embeddings)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks of one frame, as reported by a tracker; all fields have the same length ``N``.

    Attributes:
        ids: Identities of shape ``(N,)``, int64, unique within the frame.
        boxes_xyxy: Corners of shape ``(N, 4)`` in pixels.
        scores: Confidences of the detections behind the tracks, of shape ``(N,)``.
        classes: Class labels of shape ``(N,)``, int64; 0 if the detections had none.
        detection_index: Row of each detection in the input of this frame, of shape ``(N,)``, int64; -1 for none.

    >>> tracks = Tracks(np.array([7]), np.array([[0., 0., 4., 2.]]), np.array([0.9]))
    >>> tracks.ids, tracks.classes, tracks.detection_index
    (array([7]), array([0]), array([-1]))
    """

    ids: Array
    boxes_xyxy: Array
    scores: Array
    classes: Array = None
    detection_index: Array = None

    def __post_init__(self) -> None:
        for name, value in (("classes", 0), ("detection_index", -1)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, _full_like(self.ids, value))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Index) -> Tracks:
        return Tracks(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def empty(cls) -> Tracks:
        """Create a frame without tracks, as NumPy arrays.

        >>> len(Tracks.empty())
        0
        """
        ints = np.zeros(0, np.int64)
        return cls(ints, np.zeros((0, 4)), np.zeros(0), ints, ints)

    def numpy(self) -> Tracks:
        """Return the tracks as NumPy arrays (detached, on the CPU).

        >>> import torch
        >>> Tracks(torch.tensor([3]), torch.zeros(1, 4), torch.ones(1)).numpy().ids
        array([3])
        """
        return Tracks(*(to_numpy(getattr(self, f.name)) for f in fields(self)))

    def torch(self, like: torch.Tensor | None = None) -> Tracks:
        """Return the tracks as tensors; floating-point fields get dtype and device of ``like``.

        >>> Tracks.empty().torch().boxes_xyxy.shape
        torch.Size([0, 4])
        """
        import torch

        def convert(value: Array) -> torch.Tensor:
            if like is not None and like.dtype == torch.float32 and value.dtype == np.float64:
                value = value.astype(np.float32)  # faster in NumPy than creating a second tensor
            tensor = torch.as_tensor(value)
            if like is None or (like.device.type == "cpu" and not tensor.is_floating_point()):
                return tensor
            return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)

        return Tracks(*(convert(getattr(self, f.name)) for f in fields(self)))

    def to_supervision(self) -> Any:
        """Return the tracks as ``supervision.Detections`` with ``tracker_id``, for its annotators.

        Raises:
            ModuleNotFoundError: If supervision is not installed.
        """
        try:
            supervision = import_module("supervision")  # no dependency: who asks for its objects has it
        except ModuleNotFoundError as error:
            if error.name != "supervision":
                raise
            raise ModuleNotFoundError(
                "to_supervision needs supervision: pip install supervision", name=error.name
            ) from error
        tracks = self.numpy()
        return supervision.Detections(
            xyxy=tracks.boxes_xyxy.astype(np.float32),
            confidence=tracks.scores.astype(np.float32),
            class_id=tracks.classes,
            tracker_id=tracks.ids,
        )

    def to(self, device: Any) -> Tracks:
        """Return the tracks as tensors on another device; called by Lightning.

        >>> Tracks.empty().to("cpu").ids.device
        device(type='cpu')
        """
        tracks = self.torch()
        return Tracks(*(getattr(tracks, f.name).to(device) for f in fields(self)))


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """Convert ``value`` (array, tensor on any device, nested list) to a NumPy array.

    >>> to_numpy([[1, 2]]).shape
    (1, 2)
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no bfloat16
            value = value.float()
        return cast(npt.NDArray[Any], value.numpy())
    return np.asarray(value)


def _full_like(ids: Array, value: int) -> Array:
    if isinstance(ids, np.ndarray):
        return np.full(len(ids), value, np.int64)
    import torch

    return torch.full((len(ids),), value, dtype=torch.int64, device=ids.device)
