"""Released weights of FairMOT."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.centernet.fairmot import FairMOTNetwork

FAIRMOT_KEYS: Renaming = [
    (r"^base\.fc\.", None),  # the classifier of ImageNet
    (r"^base\.base_layer\.0\.", "backbone.stem.conv."),
    (r"^base\.base_layer\.1\.", "backbone.stem.norm."),
    (r"^base\.level([01])\.0\.", r"backbone.level\1.conv."),
    (r"^base\.level([01])\.1\.", r"backbone.level\1.norm."),
    (r"^base\.level2\.", "backbone.trees.0."),
    (r"^base\.level3\.", "backbone.trees.1."),
    (r"^base\.level4\.", "backbone.trees.2."),
    (r"^base\.level5\.", "backbone.trees.3."),
    (r"\.bn(\d?)\.", r".norm\1."),
    (r"^dla_up\.ida_(\d)\.", r"upsample.steps.\1."),
    (r"^ida_up\.", "upsample.last."),
    # proj_1, up_1 and node_1 belong to the second level.
    *((rf"^(upsample\.\w+(?:\.\d)?)\.{theirs}_{number}\.", rf"\1.{ours}.{number - 1}.")
      for theirs, ours in (("proj", "project"), ("up", "up"), ("node", "node")) for number in (1, 2, 3)),
    (r"\.actf\.0\.", ".norm."),
    (r"\.conv\.conv_offset_mask\.", ".conv.offsets."),
    (r"^hm\.", "heat_head."),
    (r"^wh\.", "side_head."),
    (r"^reg\.", "offset_head."),
    (r"^id\.", "identity_head."),
]  # fmt: skip
"""Renaming of the keys of a released FairMOT to those of :class:`mot_core.nn.FairMOTNetwork`."""

FRESH = r"(detector\.)?heat_head\.2\.(weight|bias)"
"""Keys that may keep their initial values: the heat maps of other classes."""


def load_fairmot(detector: FairMOTNetwork, state: Mapping[str, Tensor]) -> ImportReport:
    """Load a released FairMOT with DLA-34 into ``detector``.

    Released weights have a projection in the trees of depth 2 that nothing uses; it is reported as unused.

    Heat maps for another number of classes keep their initial values and are reported as re-made. The classifier of
    identities is not part of released weights.

    Args:
        detector: Network of the same size with batch normalization; on "meta" it needs no initialization.
        state: Names and tensors as released; see :func:`mot_core.checkpoints.read_state_dict`.

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> load_fairmot(FairMOTNetwork("micro"), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not a FairMOT of this architecture: backbone.stem.conv.weight is missing (and ...
    """
    return load_renamed(detector, state, lambda name: rename(name, FAIRMOT_KEYS), source="a FairMOT", fresh=FRESH)
