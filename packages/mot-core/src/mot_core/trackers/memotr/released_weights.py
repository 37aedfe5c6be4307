"""Import of released MeMOTR weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mot_core.checkpoints.deformable_detr import DETECTOR_KEYS, FRESH
from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.detr.detector import DeformableDETR
from mot_core.nn.queries.temporal_interaction import TemporalInteraction

UPDATER_KEYS: Renaming = [
    (r"^query_updater\.confidence_weight_net\.0\.", "temporal_interaction.confidence."),
    (r"^query_updater\.short_memory_fusion\.", "temporal_interaction.fusion."),
    (r"^query_updater\.query_feat_(norm|ffn)\.", r"temporal_interaction.query_\1."),
    (r"^query_updater\.query_pos_head\.", "temporal_interaction.position_head."),
    (r"^query_updater\.", "temporal_interaction."),
]
"""Renaming of the released query updater."""


def load_memotr(
    detector: DeformableDETR, temporal_interaction: TemporalInteraction, state: Mapping[str, Tensor]
) -> ImportReport:
    """Load a released MeMOTR with anchors (DAB-Deformable-DETR).

    Args:
        detector: Detector with ``dab``.
        temporal_interaction: Temporal interaction module, loaded from the keys under "query_updater.".
        state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

    Returns:
        Report of all keys; model keys start with "detector." and "temporal_interaction.".

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> from mot_core.nn import SmallBackbone
    >>> load_memotr(DeformableDETR(SmallBackbone(), dab=True), TemporalInteraction(), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not MeMOTR of this architecture: detector.backbone.stem.weight is missing ...
    """
    parts = nn.ModuleDict({"detector": detector, "temporal_interaction": temporal_interaction})
    return load_renamed(parts, state, _rename, source="MeMOTR", fresh=FRESH)


def _rename(name: str) -> str | None:
    if name.startswith("query_updater."):
        return rename(name, UPDATER_KEYS)
    return f"detector.{rename(name, DETECTOR_KEYS)}"
