"""The temporal adapter: an encoder over the history of each track."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fdta_adapters.functional.temporal_mask import dual_mask
from fdta_adapters.modules.attention import PostNormLayer

Position = Literal["window", "age", "none"]
TemporalResidual = Literal["replace", "gated"]


class TemporalAdapter(nn.Module):
    """Refine the embeddings of each track by its own past, with a causal transformer encoder.

    Every token attends to itself and to earlier frames in which the object was seen, so one pass over a clip equals
    a pass over each of its prefixes. Tracks do not interact. FDTA (CVPR 2026, arXiv 2512.02392),
    Eq. 3 and 4.

    Args:
        channels: Number of channels, even.
        layers: Number of layers.
        heads: Number of heads.
        ffn: Hidden channels of the feed-forward.
        dropout: Dropout probability.
        position: Encoding of time. "window": frames count from 1 at the start of the window, as in the paper. "age":
            frames count back from the newest one, so that a track does not depend on frames before its birth.
            "none": no encoding.
        residual: "replace": the output replaces the embeddings, as in the paper. "gated": it is blended in through a
            gate that starts closed, so that a trained tracker is bit-identical at first.
        mask_missing: Attend to no frame in which the object was not seen. False: such a frame is a zero vector that
            later frames attend to, which the paper found worse than no adapter (Table 6).
        zero_missing: Set the output of missing frames to 0.
        checkpointing: Recompute each layer in the backward pass to save memory.

    >>> adapter = TemporalAdapter(16, layers=2, heads=4, ffn=32).eval()
    >>> history, missing = torch.randn(2, 3, 5, 16), torch.zeros(2, 3, 5).bool()
    >>> refined = adapter(history, missing)
    >>> refined.shape, torch.allclose(refined[..., :2, :], adapter(history[..., :2, :], missing[..., :2]), atol=1e-6)
    (torch.Size([2, 3, 5, 16]), True)
    """

    def __init__(
        self,
        channels: int = 256,
        layers: int = 6,
        heads: int = 8,
        ffn: int = 512,
        dropout: float = 0.1,
        position: Position = "window",
        residual: TemporalResidual = "replace",
        *,
        mask_missing: bool = True,
        zero_missing: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if channels % 2 or channels % heads:
            raise ValueError(f"channels: expected an even multiple of the {heads} heads, got {channels}")
        for name, value, known in (
            ("position", position, ("window", "age", "none")),
            ("residual", residual, ("replace", "gated")),
        ):
            if value not in known:
                raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r}")
        self.heads, self.position = heads, position
        self.mask_missing, self.zero_missing, self.checkpointing = mask_missing, zero_missing, checkpointing
        self.layers = nn.ModuleList(PostNormLayer(channels, heads, ffn, dropout) for _ in range(layers))
        self.gate = nn.Parameter(torch.zeros(())) if residual == "gated" else None

    def forward(self, x: Tensor, missing: Tensor) -> Tensor:
        """Refine the histories of tracks.

        Args:
            x: Embeddings of shape ``(..., T, C)`` in order of time; values of missing frames have no effect.
            missing: Boolean mask of shape ``(..., T)``, True where the object was not seen.

        Returns:
            Refined embeddings of the same shape and dtype.
        """
        if missing.shape != x.shape[:-1] or missing.dtype != torch.bool:
            raise ValueError(
                f"missing: expected a bool tensor of shape {tuple(x.shape[:-1])}, got {missing.dtype} of shape "
                f"{tuple(missing.shape)}"
            )
        x = x.masked_fill(missing[..., None], 0)  # a mask does not stop NaN, because 0 * NaN is NaN
        if not x.numel():
            return x
        frames, channels = x.shape[-2:]
        tokens = x.reshape(-1, frames, channels)
        positions, mask = self.positions_and_mask(tokens, missing.reshape(-1, frames))
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(layer, tokens, positions, None, mask, use_reentrant=False)
            else:
                tokens = layer(tokens, positions, None, mask)
        refined = tokens.view_as(x).to(x.dtype)
        if self.gate is not None:
            refined = x + self.gate.tanh() * (refined - x)
        return refined.masked_fill(missing[..., None], 0) if self.zero_missing else refined

    def positions_and_mask(self, tokens: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions ``(T, C)`` and mask ``(R * heads, T, T)`` of all layers for tokens ``(R, T, C)``."""
        frames, channels = tokens.shape[1:]
        forbidden = dual_mask(missing if self.mask_missing else torch.zeros_like(missing))
        mask = torch.zeros_like(forbidden, dtype=tokens.dtype).masked_fill(forbidden, -torch.inf)
        return self.encode_positions(frames, channels, tokens), mask.repeat_interleave(self.heads, 0)

    def encode_positions(self, frames: int, channels: int, like: Tensor) -> Tensor:
        """Return the sine encoding of ``frames`` positions, ``(frames, channels)``, computed in float32."""
        if self.position == "none":
            return like.new_zeros(frames, channels)
        index = torch.arange(1, frames + 1, dtype=torch.float32, device=like.device)
        if self.position == "age":
            index = index.flip(0)
        exponent = torch.arange(0, channels, 2, dtype=torch.float32, device=like.device) / channels
        angle = index[:, None] / 10_000**exponent
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).to(like.dtype)
