"""Keys of the FDTA checkpoints released by the authors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from fdta_adapters.functional.depth_bins import DepthBins

SPATIAL = "detr.depth_predictor."
TEMPORAL = "trajectory_embedding.trca."
BIN_VALUES = f"{SPATIAL}depth_bin_values"
SPATIAL_KEYS = [
    (r"^detr\.depth_predictor\.proj\.", "extractor.fine."),
    (r"^detr\.depth_predictor\.upsample\.", "extractor.coarse."),
    (r"^detr\.depth_predictor\.depth_head\.", "extractor.blocks."),
    (r"^detr\.depth_predictor\.depth_classifier\.", "head."),
    (r"^detr\.depth_predictor\.depth_encoder\.layers\.", "encoder."),
    (r"^detr\.depth_predictor\.depth_pos_embed\.", "position."),
    (r"^detr\.transformer\.decoder\.layers\.(\d+)\.cross_attn_depth\.", r"cross.\1.attention."),
    (r"^detr\.transformer\.decoder\.layers\.(\d+)\.norm_depth\.", r"cross.\1.norm."),
]
"""Renaming of the released depth predictor and depth attention."""


def spatial_arguments(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Return the arguments of :class:`SpatialAdapterPlugin` for a released checkpoint; None for other weights.

    >>> spatial_arguments({"weight": torch.zeros(1)}) is None
    True
    """
    names = [f"{SPATIAL}{name}.weight" for name in ("depth_classifier", "depth_pos_embed")]
    if not all(name in state for name in names):
        return None
    classifier, table = (state[name] for name in names)
    bins = DepthBins(len(classifier) - 1, d_max=float(len(table) - 1), value="left_edge")
    if BIN_VALUES in state and not state[BIN_VALUES].is_meta:
        values = state[BIN_VALUES]
        bins = DepthBins(len(classifier) - 1, round(values[0].item(), 6), round(values[-1].item(), 6), "left_edge")
    sizes = asdict(bins)
    layer = f"{SPATIAL}depth_encoder.layers.0.linear1.weight"
    return {
        "num_bins": sizes["num_bins"],
        "d_min": sizes["d_min"],
        "d_max": sizes["d_max"],
        "bin_value": "left_edge",
        "convention": "depth",
        "residual": "postnorm",
        "mask_padding": False,
        "encoder_layers": _count(state, rf"{re.escape(SPATIAL)}depth_encoder\.layers\.(\d+)\."),
        "ffn_dim": len(state[layer]) if layer in state else None,
    }


def temporal_arguments(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Return the arguments of :class:`TemporalAdapterPlugin` for a released checkpoint; None for other weights.

    >>> temporal_arguments({"trajectory_embedding.trca.0.linear1.weight": torch.zeros(512, 256)})
    {'layers': 1, 'ffn_dim': 512, 'position': 'window', 'residual': 'replace'}
    """
    layer = f"{TEMPORAL}0.linear1.weight"
    if layer not in state:
        return None
    layers = _count(state, rf"{re.escape(TEMPORAL)}(\d+)\.")
    return {"layers": layers, "ffn_dim": len(state[layer]), "position": "window", "residual": "replace"}


def spatial_state(state: Mapping[str, Tensor], bins: DepthBins) -> dict[str, tuple[str | None, Tensor]]:
    """Return the spatial adapter in a released checkpoint: original name to our name, None if unneeded, and tensor.

    Raises:
        ValueError: If the stored bin values differ from those of ``bins``.
    """
    found: dict[str, tuple[str | None, Tensor]] = {}
    for name, tensor in state.items():
        for pattern, replacement in SPATIAL_KEYS:
            if re.search(pattern, name):
                found[name] = re.sub(pattern, replacement, name), tensor
    if BIN_VALUES in state:
        values = state[BIN_VALUES]
        if not values.is_meta:
            ours = bins.values(torch.float64)
            if values.shape != ours.shape or not torch.allclose(values.double().cpu(), ours, rtol=1e-5, atol=1e-5):
                raise ValueError(f"{BIN_VALUES}: expected the values of {bins}, got others; set its bins accordingly")
        found[BIN_VALUES] = None, values  # computed from the settings
    return found


def temporal_state(state: Mapping[str, Tensor]) -> dict[str, tuple[str | None, Tensor]]:
    """Return the temporal adapter in a released checkpoint: original name to our name and tensor."""
    return {
        name: (f"layers.{name.removeprefix(TEMPORAL)}", tensor)
        for name, tensor in state.items()
        if name.startswith(TEMPORAL)
    }


def load(module: nn.Module, found: Mapping[str, tuple[str | None, Tensor]], source: str) -> dict[str, str]:
    """Load renamed weights into an adapter, and return the used names: original to ours.

    Returns:
        An empty mapping if ``found`` is empty: the checkpoint does not contain this adapter.

    Raises:
        ValueError: If a key is missing or unexpected, or has another shape.
    """
    if not found:
        return {}
    ours = module.state_dict()
    loaded = {name: tensor for name, tensor in found.values() if name is not None}
    for original, (name, tensor) in found.items():
        if name is not None and (name not in ours or ours[name].shape != tensor.shape):
            expected = f"shape {tuple(ours[name].shape)}" if name in ours else "no such key"
            raise ValueError(f"{original}: expected {expected} in {source}, got {tuple(tensor.shape)}")
    absent = sorted(set(ours) - set(loaded))
    if absent:
        raise ValueError(f"{source}: expected all weights in the checkpoint, got none for {absent[0]}")
    meta = any(tensor.is_meta for tensor in ours.values())
    module.load_state_dict({name: tensor.to(ours[name].dtype) for name, tensor in loaded.items()}, assign=meta)
    return {original: f"adapter.{name or 'bins'}" for original, (name, _) in found.items()}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    matches = [re.match(pattern, name) for name in state]
    return len({match[1] for match in matches if match})
