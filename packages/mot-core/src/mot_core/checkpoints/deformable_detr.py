"""Released Deformable DETR weights: COCO, and the detectors inside MOTIP, FDTA, MOTR and MeMOTR."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.detr.detector import DeformableDETR

DETECTOR_KEYS: Renaming = [
    (r"^backbone\.(0\.body|backbone\.backbone)\.", "backbone."),
    (r"^(input_proj|feature_projs)\.", "projections."),
    # Queries with anchors: names of DAB-Deformable-DETR, then of MeMOTR.
    (r"^(tgt_embed\.weight|det_query_embed)$", "query_embed.weight"),
    (r"^(refpoint_embed\.weight|det_anchor)$", "anchors.weight"),
    (r"^transformer\.decoder\.ref_point_head\.", "decoder.anchor_position.head."),
    (r"^transformer\.decoder\.query_scale\.", "decoder.anchor_position.scale."),
    (r"^transformer\.level_embed$", "encoder.level_embed"),
    (r"^transformer\.reference_points\.", "reference_points."),
    (r"^class_embed\.", "class_heads."),
    (r"^(transformer\.decoder\.)?bbox_embed\.", "decoder.box_heads."),  # stored twice; one shared tensor
    (r"^transformer\.(encoder|decoder)\.", r"\1."),
    (r"^((?:encoder|decoder)\.layers\.\d+\.)linear([12])\.", r"\1ffn.linear\2."),
    # The original code numbers the norms of a layer, with a different order in encoder and decoder.
    (r"^(encoder\.layers\.\d+\.)norm1\.", r"\1self_attn_norm."),
    (r"^(encoder\.layers\.\d+\.)norm2\.", r"\1ffn.norm."),
    (r"^(decoder\.layers\.\d+\.)norm1\.", r"\1cross_attn_norm."),
    (r"^(decoder\.layers\.\d+\.)norm2\.", r"\1self_attn_norm."),
    (r"^(decoder\.layers\.\d+\.)norm3\.", r"\1ffn.norm."),
    (r"^(decoder\.layers\.\d+\.)norm4\.", r"\1track_attn_norm."),
    (r"^(decoder\.layers\.\d+\.)update_attn\.", r"\1track_attn."),
]
"""Renaming of the keys of a released detector to those of :class:`mot_core.nn.DeformableDETR`."""

FRESH = r"(detector\.)?(class_heads\.\d+\.(weight|bias)|decoder\.layers\.\d+\.track_attn.*)"
"""Keys that may keep their initial values: heads of other classes, and the track attention that MOTR adds."""


def load_deformable_detr(detector: DeformableDETR, state: Mapping[str, Tensor], *, prefix: str = "") -> ImportReport:
    """Load a released Deformable DETR with box refinement into ``detector``.

    Class heads for another number of classes keep their initial values and are reported as re-made. The same holds for
    the track attention, reported as missing, when a plain detector initializes MOTR.

    Args:
        detector: Detector of the same architecture; on "meta" it needs no initialization.
        state: Names and tensors as released; see :func:`mot_core.checkpoints.read_state_dict`.
        prefix: Prefix of the detector's names: "detr." in checkpoints of MOTIP and FDTA. Other keys are reported as
            unused.

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> import torch
    >>> from mot_core.nn import SmallBackbone
    >>> detector = DeformableDETR(SmallBackbone(), num_queries=5, embed_dim=32, ffn_dim=32, num_levels=3)
    >>> load_deformable_detr(detector, {"query_embed.weight": torch.zeros(300, 512)})
    Traceback (most recent call last):
    ValueError: the checkpoint is not a Deformable DETR of this architecture: query_embed.weight is (300, 512) in ...
    """
    return load_renamed(
        detector,
        state,
        lambda name: rename(name.removeprefix(prefix), DETECTOR_KEYS) if name.startswith(prefix) else None,
        source="a Deformable DETR",
        fresh=FRESH,
    )
