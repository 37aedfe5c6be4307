"""One layer of SGLA: attention with a bias from the association matrix, which its weights update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamotr.modules.settings import SGLASettings
from mot_core.ops import pair_bias_attention


class SpatialWeightedAttention(nn.Module):
    r"""Attention over objects and tracklets that reads and updates the association matrix ``E``.

    LA-MOTR (ICCV 2025, Section 3.2) after the edge channel of EGT (Hussain et al., KDD 2022): one bias per head for
    every pair of object and tracklet, and the weights of both directions, averaged, update the matrix:

    .. math::

        A = \operatorname{softmax}\left(\frac{Q K^\top}{\sqrt{d_k}} + \begin{bmatrix} 0 & E W_{asso} \\
        (E W_{asso})^\top & 0 \end{bmatrix}\right), \quad
        X' = X + A V, \quad
        \Delta E = \tfrac12 \left(A_{obj, tck} + A_{tck, obj}^\top\right) W_{upd}

    with ``Q, K, V`` from the normalized tokens and without an output projection, followed by a feed-forward.

    Args:
        settings: Sizes and variant.

    >>> layer = SpatialWeightedAttention(SGLASettings(embed_dim=16, num_heads=2, ffn_dim=32))
    >>> tokens, update = layer(torch.randn(1, 5, 16), torch.zeros(1, 3, 2, 16))  # three objects, two tracklets
    >>> tokens.shape, update.shape
    (torch.Size([1, 5, 16]), torch.Size([1, 3, 2, 16]))
    """

    def __init__(self, settings: SGLASettings) -> None:
        super().__init__()
        channels, heads = settings.embed_dim, settings.num_heads
        self.settings = settings
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = nn.Linear(channels, heads)  # W_asso
        self.update = nn.Linear(heads, channels)  # W_upd
        self.norm = nn.LayerNorm(channels) if settings.norm else nn.Identity()
        self.feed_forward = _feed_forward(settings) if settings.ffn_dim else None
        if settings.zero_init:
            with torch.no_grad():
                self.qkv.weight[2 * channels :] = 0
                self.qkv.bias[2 * channels :] = 0
                for parameter in self.feed_forward[-1].parameters() if self.feed_forward is not None else ():
                    parameter.zero_()

    def forward(self, tokens: Tensor, edges: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the layer.

        Args:
            tokens: Embeddings of ``M`` objects, then ``K`` tracklets, of shape ``(B, M + K, C)``.
            edges: Association matrix of shape ``(B, M, K, C)``.
            padding: Boolean mask of shape ``(B, M + K)``, True for padding, which becomes 0.

        Returns:
            Tokens of the same shape, and the update of the association matrix of shape ``(B, M, K, C)``.
        """
        settings, objects = self.settings, edges.shape[1]
        parts = self.qkv(self.norm(tokens)).unflatten(-1, (3, settings.num_heads, -1))
        query, key, value = parts.unbind(2)
        bias = self.bias(edges)
        first, second = slice(0, objects), slice(objects, tokens.shape[1])
        asking = slice(0, tokens.shape[1])
        if settings.attention == "concat":
            attended, forth, back = pair_bias_attention(query, key, value, bias, padding)
        elif settings.attention == "obj_queries":
            asking = first
            attended, forth = _cross(query, key, value, bias, padding, first, second)
            back = forth
        else:
            asking = second
            attended, weights = _cross(query, key, value, bias.transpose(1, 2), padding, second, first)
            forth = back = weights.transpose(1, 2)
        if settings.edge_update == "logits":
            forth, back = _logits(query, key, bias)
            if settings.attention != "concat":  # only one direction exists
                forth = back = forth if asking == first else back
        read = {"mean": (forth + back) / 2, "obj_to_tck": forth, "tck_to_obj": back}[settings.edge_read]
        changed = tokens[:, asking] + attended
        if self.feed_forward is not None:
            changed = changed + self.feed_forward(changed)
        tokens = torch.cat([tokens[:, : asking.start], changed, tokens[:, asking.stop :]], 1)
        if padding is not None:
            tokens = tokens.masked_fill(padding[..., None], 0)
        return tokens, self.update(read.to(edges.dtype))


def _feed_forward(settings: SGLASettings) -> nn.Sequential:
    channels, hidden = settings.embed_dim, settings.ffn_dim
    norm = nn.LayerNorm(channels) if settings.norm else nn.Identity()
    return nn.Sequential(norm, nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))


def _cross(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, padding: Tensor | None, asking: slice, asked: slice
) -> tuple[Tensor, Tensor]:
    """Let some tokens attend to others; the result is 0 without any key, where the softmax would be NaN."""
    query, key, value = query[:, asking], key[:, asked], value[:, asked]
    dtype = torch.promote_types(value.dtype, torch.float32)
    with torch.autocast(value.device.type, enabled=False):
        logits = torch.einsum("bqhc,bkhc->bqkh", query.to(dtype), key.to(dtype)) / query.shape[-1] ** 0.5
        logits = logits + bias.to(dtype)
        if padding is not None:
            logits = logits.masked_fill(padding[:, None, asked, None], torch.finfo(dtype).min)
        weights = logits.softmax(2)
        if padding is not None:
            unseen = padding[:, asking, None] | padding[:, None, asked]
            weights = weights.masked_fill(unseen[..., None], 0)
        return torch.einsum("bqkh,bkhc->bqhc", weights, value.to(dtype)).flatten(2).to(value.dtype), weights


def _logits(query: Tensor, key: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of pairs across the groups in both directions, each ``(B, M, K, H)``."""
    objects, scale = bias.shape[1], query.shape[-1] ** 0.5
    forth = torch.einsum("bmhc,bkhc->bmkh", query[:, :objects], key[:, objects:])
    back = torch.einsum("bkhc,bmhc->bmkh", query[:, objects:], key[:, :objects])
    return forth / scale + bias, back / scale + bias
