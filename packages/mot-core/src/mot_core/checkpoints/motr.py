"""Released MOTR weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mot_core.checkpoints.deformable_detr import load_deformable_detr
from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed
from mot_core.nn.deformable_detr import DeformableDETR
from mot_core.nn.query_interaction import QueryInteraction

QUERY_KEYS: Renaming = [
    (r"^track_embed\.norm3\.", None),  # made and never used
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
"""Names of the released query interaction module to ours."""


def load_motr(
    detector: DeformableDETR, query_interaction: QueryInteraction, state: Mapping[str, Tensor]
) -> ImportReport:
    """Loads a released MOTR.

    Args:
        detector: with ``track_attention`` if the checkpoint has it, as all released ones.
        query_interaction: gets the keys under "track_embed.".
        state: names and tensors as released, see :func:`mot_core.checkpoints.read_state_dict`.

    Returns:
        Our keys begin with "detector." and "query_interaction.".

    Raises:
        ValueError: the checkpoint has another architecture.

    >>> from mot_core.nn import SmallBackbone
    >>> load_motr(DeformableDETR(SmallBackbone()), QueryInteraction(), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not MOTR of this architecture: query_interaction.self_attn.in_proj_weight is ...
    """
    tracks = {name: tensor for name, tensor in state.items() if name.startswith("track_embed.")}
    parts = nn.ModuleDict({"query_interaction": query_interaction})
    interaction = load_renamed(parts, tracks, QUERY_KEYS, source="MOTR")
    detection = load_deformable_detr(detector, {name: state[name] for name in state if name not in tracks})
    return ImportReport(
        {**interaction.used, **{name: f"detector.{ours}" for name, ours in detection.used.items()}},
        {**interaction.unused, **detection.unused},
        (),
        {f"detector.{ours}": shapes for ours, shapes in detection.remade.items()},
    )
