"""Import of released MOTIP weights, also those contained in FDTA."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mot_core.checkpoints.deformable_detr import DETECTOR_KEYS, FRESH
from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.detr.detector import DeformableDETR
from mot_core.nn.queries.id_decoder import IDDecoder
from mot_core.nn.queries.trajectory_model import TrajectoryModel

ID_KEYS: Renaming = [
    (r"^trajectory_modeling\.norm\.", "trajectory_model.adapter.norm."),
    (r"^trajectory_modeling\.ffn_norm\.", "trajectory_model.ffn.norm."),
    (r"^trajectory_modeling\.", "trajectory_model."),
    (r"^id_decoder\.rel_pos_embeds$", "id_decoder.time_bias"),
    (r"^id_decoder\.embed_to_word_layers\.\d+\.", "id_decoder.embed_to_word."),  # stored once per layer, but shared
    (r"^id_decoder\.(self|cross)_attn_layers\.", r"id_decoder.\1_attns."),
    (r"^id_decoder\.(self|cross)_attn_norm_layers\.", r"id_decoder.\1_attn_norms."),
    (r"^id_decoder\.ffn_layers\.", "id_decoder.ffns."),
    (r"^id_decoder\.ffn_norm_layers\.(\d+)\.", r"id_decoder.ffns.\1.norm."),
]
"""Renaming of the released trajectory model and ID decoder."""


def load_motip(
    detector: DeformableDETR,
    trajectory_model: TrajectoryModel,
    id_decoder: IDDecoder,
    state: Mapping[str, Tensor],
) -> ImportReport:
    """Load a released MOTIP, or the MOTIP part of a released FDTA (its adapters are reported as unused).

    Args:
        detector: Detector, loaded from the keys under "detr.".
        trajectory_model: Trajectory model, loaded from the keys under "trajectory_modeling.".
        id_decoder: ID decoder, loaded from the keys under "id_decoder.".
        state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

    Returns:
        Report of all keys; model keys start with "detector.", "trajectory_model." and "id_decoder.".

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> from mot_core.nn import SmallBackbone
    >>> load_motip(DeformableDETR(SmallBackbone()), TrajectoryModel(), IDDecoder(), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not MOTIP of this architecture: detector.backbone.stem.weight is missing ...
    """
    parts = {"detector": detector, "trajectory_model": trajectory_model, "id_decoder": id_decoder}
    return load_renamed(nn.ModuleDict(parts), state, _rename, source="MOTIP", fresh=FRESH)


def _rename(name: str) -> str | None:
    if name.startswith("detr."):
        return f"detector.{rename(name.removeprefix('detr.'), DETECTOR_KEYS)}"
    return rename(name, ID_KEYS)
