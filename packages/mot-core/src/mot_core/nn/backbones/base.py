"""What a detector needs of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Images ``(B, 3, H, W)`` to a list of maps ``(B, C, h, w)``, finest first.

    Attributes:
        channels: of every map.
        strides: pixels per cell of every map.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """One map per entry of ``channels``."""
