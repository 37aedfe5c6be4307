"""Released weights of GTR: the association head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.queries.global_association import GlobalAssociation

GTR_KEYS: Renaming = [
    (r"^roi_heads\.", ""),
    (r"^asso_head\.", ""),
    (r"^asso_predictor\.q_proj\.", "query_projection."),
    (r"^asso_predictor\.k_proj\.", "key_projection."),
    (r"^transformer\.encoder\.layers\.0\.", "encoder."),
    (r"^transformer\.decoder\.layers\.0\.", "decoder."),
    (r"^(encoder)\.self_attn\.", r"\1.attention."),
    (r"^(decoder)\.multihead_attn\.", r"\1.attention."),
    (r"^pos_emb\.", "box_embedding."),
    (r"^temp_emb\.", "time_embedding."),
]
"""Renaming of the keys of a released association head to those of :class:`mot_core.nn.GlobalAssociation`."""

PARTS = ("asso_head.", "asso_predictor.", "transformer.", "pos_emb.", "temp_emb.")


def load_gtr(association: GlobalAssociation, state: Mapping[str, Tensor]) -> ImportReport:
    """Load the association head of a released GTR.

    The released detector has an architecture of its own; its keys are reported as unused.

    Args:
        association: Head of the same sizes.
        state: Names and tensors as released, the association under "roi_heads." or without prefix; see
            :func:`mot_core.checkpoints.read_state_dict`.

    Raises:
        ValueError: If the checkpoint has no association head of this architecture.

    >>> load_gtr(GlobalAssociation(8, 16, pool_size=3, num_heads=2), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not an association head of GTR of this architecture: fc1.weight is missing (and ...
    """
    own = {name: value for name, value in state.items() if name.removeprefix("roi_heads.").startswith(PARTS)}
    report = load_renamed(association, own, lambda name: rename(name, GTR_KEYS), source="an association head of GTR")
    rest = dict.fromkeys(
        [name for name in state if name not in own],
        "belongs to the released detector, which has another architecture; train the detector of this package",
    )
    return replace(report, unused={**report.unused, **rest})
