"""Import of released MOTR weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mot_core.checkpoints.deformable_detr import DETECTOR_KEYS, FRESH
from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.detr.detector import DeformableDETR
from mot_core.nn.queries.query_interaction import QueryInteraction

QUERY_KEYS: Renaming = [
    (r"^track_embed\.norm3\.", None),  # created, but never used
    (r"^track_embed\.norm1\.", "query_interaction.self_attn_norm."),
    (r"^track_embed\.norm2\.", "query_interaction.ffn.norm."),
    (r"^track_embed\.linear([12])\.", r"query_interaction.ffn.linear\1."),
    (r"^track_embed\.linear_pos1\.", "query_interaction.position_update.layers.0."),
    (r"^track_embed\.linear_pos2\.", "query_interaction.position_update.layers.1."),
    (r"^track_embed\.norm_pos\.", "query_interaction.position_norm."),
    (r"^track_embed\.linear_feat1\.", "query_interaction.content_update.layers.0."),
    (r"^track_embed\.linear_feat2\.", "query_interaction.content_update.layers.1."),
    (r"^track_embed\.norm_feat\.", "query_interaction.content_norm."),
    (r"^track_embed\.", "query_interaction."),
]
"""Renaming of the released query interaction module."""


def load_motr(
    detector: DeformableDETR, query_interaction: QueryInteraction, state: Mapping[str, Tensor]
) -> ImportReport:
    """Load a released MOTR.

    Args:
        detector: Detector, with ``track_attention`` if the checkpoint has it, as all released ones do.
        query_interaction: Query interaction module, loaded from the keys under "track_embed.".
        state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

    Returns:
        Report of all keys; model keys start with "detector." and "query_interaction.".

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> from mot_core.nn import SmallBackbone
    >>> load_motr(DeformableDETR(SmallBackbone()), QueryInteraction(), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not MOTR of this architecture: detector.backbone.stem.weight is missing ...
    """
    parts = nn.ModuleDict({"detector": detector, "query_interaction": query_interaction})
    # The projection of the motion in MOTE, which has no released weights, starts from those of MOTR.
    fresh = rf"{FRESH}|query_interaction\.motion\.(weight|bias)"
    return load_renamed(parts, state, _rename, source="MOTR", fresh=fresh)


def _rename(name: str) -> str | None:
    if name.startswith("track_embed."):
        return rename(name, QUERY_KEYS)
    return f"detector.{rename(name, DETECTOR_KEYS)}"
