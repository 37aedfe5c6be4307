"""Optical flow between two frames: none, an estimator without parameters, and RAFT of torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.extras import needs

FlowEstimator: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(previous (B, 3, H, W), current (B, 3, H, W)) -> flow (B, 2, H, W)``: horizontal and vertical motion in pixels.

Images are normalized with the statistics of ImageNet. A pixel of the previous frame at ``x`` is at ``x + flow`` in the
current one.
"""


class ZeroFlow(nn.Module):
    """The flow of a scene without motion.

    >>> ZeroFlow()(torch.rand(1, 3, 4, 6), torch.rand(1, 3, 4, 6)).shape
    torch.Size([1, 2, 4, 6])
    """

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Return zeros of shape ``(B, 2, H, W)``."""
        return current.new_zeros(len(current), 2, *current.shape[2:])


class LucasKanade(nn.Module):
    r"""Dense pyramidal Lucas-Kanade flow (Lucas and Kanade, IJCAI 1981; Bouguet 2001), without parameters.

    From coarse to fine, every pixel solves the regularized normal equations of its window, several times:

    .. math::

        \left(\sum \nabla I \nabla I^T + \lambda 1\right) \Delta v = -\sum \nabla I \, (I_t(x + v) - I_{t-1}(x))

    Areas without texture have a flow of 0. Computed in at least float32 and without gradient.

    Args:
        levels: Number of levels of the pyramid, each half as large as the one before. More levels find larger motion,
            about 3 pixels of the coarsest level.
        iterations: Number of solutions per level.
        window: Side of the window in pixels, odd. Larger windows are smoother and less precise at borders of objects.
        regularization: Weight :math:`\lambda` in squared units of the normalized images.
        stride: Factor by which images are reduced before the estimation. The flow is interpolated to their full size.

    >>> row = (torch.arange(32) / 4).sin().expand(1, 3, 24, 32) + (torch.arange(24.0) / 3).sin()[:, None]
    >>> LucasKanade()(row[..., 1:], row[..., :-1])[0, 0, 8:16, 8:24].mean().round(decimals=1).item()  # one pixel right
    1.0
    """

    def __init__(
        self, levels: int = 3, iterations: int = 3, window: int = 7, regularization: float = 1e-3, stride: int = 1
    ) -> None:
        super().__init__()
        for name, value in (("levels", levels), ("iterations", iterations), ("window", window), ("stride", stride)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if window % 2 == 0:
            raise ValueError(f"window: expected an odd number of pixels, got {window}")
        self.levels, self.iterations, self.window = levels, iterations, window
        self.regularization, self.stride = regularization, stride

    @torch.no_grad()
    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Estimate the flow ``(B, 2, H, W)`` between two frames ``(B, 3, H, W)``."""
        dtype = torch.promote_types(current.dtype, torch.float32)
        gray = [one.to(dtype).mean(1, keepdim=True) for one in (previous, current)]
        stride = min(self.stride, *current.shape[-2:])
        frames = [torch.stack([F.avg_pool2d(one, stride) for one in gray])]
        while len(frames) < self.levels and min(frames[-1].shape[-2:]) >= 2 * self.window:
            half = F.avg_pool2d(frames[-1].flatten(0, 1), 2)
            frames.append(half.view(*frames[-1].shape[:2], *half.shape[1:]))
        flow = frames[-1].new_zeros(len(current), 2, *frames[-1].shape[-2:])
        for before, after in reversed(frames):
            flow = _resize(flow, before.shape[-2:])
            dy, dx = torch.gradient(before, dim=(-2, -1))
            sums = self._average(torch.cat([dx * dx, dx * dy, dy * dy], 1))
            xx, xy, yy = sums[:, :1] + self.regularization, sums[:, 1:2], sums[:, 2:] + self.regularization
            determinant = xx * yy - xy * xy
            for _ in range(self.iterations):
                change = _warp(after, flow) - before
                sums = self._average(torch.cat([dx * change, dy * change], 1))
                xt, yt = sums[:, :1], sums[:, 1:]
                step = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], 1) / determinant
                # A step above 1 is outside of the linear range. Smoothing keeps the noise of the warped image from
                # growing from step to step.
                flow = self._average(flow + step.clamp(-1, 1))
        return _resize(flow, current.shape[-2:]).to(current.dtype)

    def _average(self, values: Tensor) -> Tensor:
        for side in ((self.window, 1), (1, self.window)):  # a square window, as two of one dimension
            padding = side[0] // 2, side[1] // 2
            values = F.avg_pool2d(values, side, 1, padding, count_include_pad=False)
        return values


def _resize(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a flow ``(B, 2, h, w)`` in pixels to (height, width)."""
    scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]])[:, None, None]
    return F.interpolate(flow, size=tuple(size), mode="bilinear", align_corners=False) * scale


def _warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample ``image (B, 1, H, W)`` at the positions that ``flow (B, 2, H, W)`` points to."""
    height, width = image.shape[-2:]
    rows, columns = (torch.arange(n, dtype=flow.dtype, device=flow.device) for n in (height, width))
    x = (columns + flow[:, 0] + 0.5) * 2 / width - 1
    y = (rows[:, None] + flow[:, 1] + 0.5) * 2 / height - 1
    return F.grid_sample(image, torch.stack([x, y], -1), padding_mode="border", align_corners=False)


class RAFTFlow(nn.Module):
    """RAFT (Teed and Deng, ECCV 2020, arXiv:2003.12039) as implemented in torchvision, frozen.

    torchvision is imported only here and only on use.

    Args:
        weights: File with the weights of ``raft_large``. None leaves them at random, to be read from a checkpoint.

    Raises:
        ModuleNotFoundError: If torchvision is not installed.
        RuntimeError: If the installed torchvision does not fit the installed torch.
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds other weights.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        models: Any
        with needs("torchvision", "timm", "the flow 'raft'"):
            try:
                models = import_module("torchvision.models.optical_flow")
            except RuntimeError as error:
                raise RuntimeError(
                    f"flow: expected a torchvision that fits torch {torch.__version__}, got an error on import "
                    f"({error}); install the matching build, or use flow=lucas_kanade"
                ) from error
        self.network = models.raft_large(weights=None)
        if weights is not None:
            if not Path(weights).is_file():
                raise FileNotFoundError(f"flow: no file {weights}; expected raft:PATH with weights of raft_large")
            try:
                self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            except RuntimeError as error:
                raise ValueError(f"flow: expected weights of torchvision's raft_large in {weights}; {error}") from error
        self.requires_grad_(False)
        statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of ImageNet
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
        self.register_buffer("scale", 2 * std, persistent=False)
        self.register_buffer("shift", 2 * mean - 1, persistent=False)

    def train(self, mode: bool = True) -> RAFTFlow:
        """Keep the network in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Estimate the flow ``(B, 2, H, W)`` between two frames ``(B, 3, H, W)`` of at least 128 x 128 pixels."""
        height, width = current.shape[-2:]
        margin = (0, -width % 8, 0, -height % 8)
        pair = [F.pad(one * self.scale + self.shift, margin, mode="replicate") for one in (previous, current)]
        flow: Tensor = self.network(*pair)[-1]
        return flow[..., :height, :width]


class WrappedFlow(nn.Module):
    """A function as flow estimator of a module.

    >>> WrappedFlow(lambda previous, current: current[:, :2] - previous[:, :2])(*torch.zeros(2, 1, 3, 4, 6)).shape
    torch.Size([1, 2, 4, 6])
    """

    def __init__(self, flow: FlowEstimator) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        """Call the function.

        Raises:
            ValueError: If the result has another shape than ``(B, 2, H, W)``.
        """
        flow = self.flow(previous, current)
        expected = (len(current), 2, *current.shape[2:])
        if tuple(flow.shape) != expected:
            raise ValueError(f"flow: expected a result of shape {expected}, got {tuple(flow.shape)}")
        return flow


def make_flow(name: str) -> nn.Module:
    """Build a flow estimator by name.

    Args:
        name: ``"zero"``, ``"lucas_kanade"``, or ``"raft:PATH"`` with the weights of torchvision's ``raft_large``
            (``"raft"`` if they come with a checkpoint).

    Raises:
        ValueError: If there is no such estimator.

    >>> make_flow("farneback")
    Traceback (most recent call last):
    ValueError: flow: expected 'zero', 'lucas_kanade', 'raft' or 'raft:PATH', got 'farneback'
    """
    if name == "zero":
        return ZeroFlow()
    if name == "lucas_kanade":
        return LucasKanade(stride=2)  # the cells of feature maps are larger still
    kind, _, path = name.partition(":")
    if kind == "raft":
        return RAFTFlow(path or None)
    raise ValueError(f"flow: expected 'zero', 'lucas_kanade', 'raft' or 'raft:PATH', got {name!r}")
