"""Import of released TrackFormer weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mot_core.checkpoints import ImportReport, load_deformable_detr
from mot_core.nn.detr.multi_frame import MultiFrameDETR

RELEASED_CLASSES = 20
"""Columns of the class heads in released models for people. The first is the person; no training uses the others."""


def load_trackformer(detector: MultiFrameDETR, state: Mapping[str, Tensor]) -> ImportReport:
    """Load a released TrackFormer with multi-frame attention.

    A detector with fewer than 20 classes gets the first columns of the class heads, so that one class suffices for
    people.

    Args:
        detector: Detector of the same architecture; the released models have 500 queries and 288 channels.
        state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

    Returns:
        Report of all keys, with the names of the detector.

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> import torch
    >>> from mot_core.nn import SmallBackbone
    >>> load_trackformer(MultiFrameDETR(SmallBackbone(), embed_dim=288), {"query_embed.weight": torch.zeros(500, 576)})
    Traceback (most recent call last):
    ValueError: the checkpoint is not a Deformable DETR of this architecture: query_embed.weight is (500, 576) in ...
    """
    count = detector.num_classes
    return load_deformable_detr(
        detector,
        {
            name: value[:count] if name.startswith("class_embed.") and len(value) == RELEASED_CLASSES else value
            for name, value in state.items()
        },
    )
