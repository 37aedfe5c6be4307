"""What a tracker is given: a batch of clips of one length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mot_core.clip import FrameTargets, _Checked

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(eq=False)  # not frozen: with precision 64-true, Lightning copies batches field by field
class ClipBatch(_Checked):
    """``B`` clips of ``T`` frames, images padded at the right and at the bottom to one size.

    All frames of a clip have the same size. Boxes of the targets are centre and size in [0, 1] of the image *without*
    padding (``image_size``).

    Attributes:
        images: ``(B, T, 3, H, W)``, normalised; 0 where padded.
        padding: ``(B, H, W)`` bool, True where padded.
        image_size: ``(B, 2)`` int64 height and width in pixels without padding.
        original_size: ``(B, 2)`` int64 height and width of the frames in their files, in which results are written.
        times: ``(B, T)`` int64, the real numbers of the frames.
        sequences: ``B`` names of sequences.
        targets: ``T`` targets; None where there is no ground truth.

    >>> import torch
    >>> size = torch.tensor([[96, 160]])
    >>> batch = ClipBatch(torch.zeros(1, 2, 3, 96, 160), torch.zeros(1, 96, 160).bool(), size, size,
    ...                   torch.tensor([[7, 8]]), ("crossing",))
    >>> len(batch), batch.num_frames
    (1, 2)
    """

    SHAPES: ClassVar[dict[str, str]] = {
        "images": "float B T 3 H W",
        "padding": "bool B H W",
        "image_size": "int64 B 2",
        "original_size": "int64 B 2",
        "times": "int64 B T",
    }

    images: Tensor
    padding: Tensor
    image_size: Tensor
    original_size: Tensor
    times: Tensor
    sequences: tuple[str, ...]
    targets: tuple[FrameTargets, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_frames(self) -> int:
        """``T``."""
        return self.images.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The same on another device; Lightning calls it.

        >>> import torch
        >>> size = torch.tensor([[96, 160]])
        >>> batch = ClipBatch(torch.zeros(1, 2, 3, 96, 160), torch.zeros(1, 96, 160).bool(), size, size,
        ...                   torch.tensor([[7, 8]]), ("crossing",))
        >>> batch.to("meta").images.device
        device(type='meta')
        """
        tensors: Any = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in self.SHAPES}
        targets = None if self.targets is None else tuple(frame.to(device, non_blocking) for frame in self.targets)
        return replace(self, **tensors, targets=targets)
