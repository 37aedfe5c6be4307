"""Depth as a distribution over bins of linearly increasing width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

BinValue = Literal["center", "left_edge"]
Convention = Literal["depth", "disparity"]


@dataclass(frozen=True)
class DepthBins:
    r"""Linear-increasing discretization (LID) of a depth range, with one more bin for the background.

    Bin ``k`` covers ``[edge_k, edge_{k+1})`` and is ``delta (k + 1)`` wide, so that near depths are resolved best::

        delta  = 2 (d_max - d_min) / (D (D + 1)),    edge_k = d_min + delta k (k + 1) / 2
        bin(d) = trunc(-0.5 + 0.5 sqrt(1 + 8 (d - d_min) / delta))

    Bin ``D`` is the background: depths out of range, NaN and infinity. Its value is ``d_max``. Edges, values and the
    size of the position table are computed from these five settings, never stored, so that they cannot diverge.

    Args:
        num_bins: Number ``D`` of bins without the background.
        d_min: Lower end of the range, in the unit of the depth maps.
        d_max: Upper end of the range.
        value: Depth that represents a bin: its center, or its left edge as in the released code, which underestimates
            by half a bin on average.
        convention: Meaning of the maps. "depth": large is far. "disparity": large is near, as in the maps of monocular
            depth models; they are mirrored to ``d_min + d_max - map``, so that the fine bins are near again.

    Raises:
        ValueError: If the range is empty or a setting is unknown.

    >>> bins = DepthBins()
    >>> bins.bin(torch.tensor([0.5, 10.0, 128.0, 300.0])).tolist()
    [6, 29, 105, 150]
    >>> round(bins.values()[29].item(), 3)
    10.173
    """

    num_bins: int = 150
    d_min: float = 1e-3
    d_max: float = 256.0
    value: BinValue = "center"
    convention: Convention = "depth"

    def __post_init__(self) -> None:
        if self.num_bins < 1:
            raise ValueError(f"num_bins: expected at least 1, got {self.num_bins}")
        if not (math.isfinite(self.d_min) and math.isfinite(self.d_max) and 0 <= self.d_min < self.d_max):
            raise ValueError(f"d_min, d_max: expected 0 <= d_min < d_max, got {self.d_min} and {self.d_max}")
        if self.value not in ("center", "left_edge"):
            raise ValueError(f"value: expected center or left_edge, got {self.value!r}")
        if self.convention not in ("depth", "disparity"):
            raise ValueError(f"convention: expected depth or disparity, got {self.convention!r}")

    @property
    def delta(self) -> float:
        """Width of the first bin."""
        return 2 * (self.d_max - self.d_min) / (self.num_bins * (self.num_bins + 1))

    @property
    def num_positions(self) -> int:
        """Rows of a position table with one row per unit of depth, from 0 to ``d_max``."""
        return math.ceil(self.d_max) + 1

    def edges(self, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
        """Return the ``D + 1`` edges of the bins, from ``d_min`` to ``d_max``."""
        index = torch.arange(self.num_bins + 1, dtype=dtype, device=device)
        # Equal to d_min + delta k (k + 1) / 2; the released code computes this form, whose last bits differ.
        return (index + 0.5).square() * self.delta / 2 - self.delta / 8 + self.d_min

    def values(self, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Tensor:
        """Return the depth of each bin, ``(D + 1,)``; the last one is that of the background, ``d_max``."""
        edges = self.edges(dtype, device)
        values = edges[:-1] if self.value == "left_edge" else (edges[:-1] + edges[1:]) / 2
        return torch.cat([values, edges.new_tensor([self.d_max])])

    def to_depth(self, depth: Tensor) -> Tensor:
        """Convert values of a map to the axis of the bins, on which large is far."""
        return (self.d_max - depth) + self.d_min if self.convention == "disparity" else depth

    def bin(self, depth: Tensor) -> Tensor:
        """Return the bin of each value of a depth map, int64; the background ``D`` if it is out of range.

        Args:
            depth: Values in the unit and convention of the maps, of any shape.
        """
        depth = self.to_depth(depth if depth.dtype == torch.float64 else depth.float())
        position = -0.5 + 0.5 * (1 + 8 * (depth - self.d_min) / self.delta).sqrt()
        inside = (depth >= self.d_min) & (position <= self.num_bins)  # False for NaN
        return position.where(inside, self.num_bins).long()

    def expectation(self, probabilities: Tensor, dim: int = 1) -> Tensor:
        """Return the mean depth of distributions over the bins, in at least float32.

        Args:
            probabilities: Probabilities of the ``D + 1`` bins along ``dim``.
            dim: Dimension of the bins, which is removed.
        """
        probabilities = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
        values = self.values(device=probabilities.device).to(probabilities.dtype)  # float32, as in released models
        return torch.tensordot(probabilities, values, dims=([dim], [0]))
