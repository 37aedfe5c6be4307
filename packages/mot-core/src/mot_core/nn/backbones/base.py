"""Interface that a detector expects of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Base class of modules that map images ``(B, 3, H, W)`` to a list of maps ``(B, C, h, w)``, finest first.

    Attributes:
        channels: Number of channels of every map.
        strides: Stride of every map in pixels per cell.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map per entry of ``channels``."""
