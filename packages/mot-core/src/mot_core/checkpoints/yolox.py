"""Released YOLOX weights: COCO, and the detectors of ByteTrack."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mot_core.checkpoints.report import ImportReport, Renaming, load_renamed, rename
from mot_core.nn.yolox.detector import YOLOX

BLOCK = r"(backbone\.stages\.[012]\.1|backbone\.stages\.3\.2|pyramid\.(?:down|up)\.\d)"  # a cross-stage block
YOLOX_KEYS: Renaming = [
    (r"\.bn\.", ".norm."),
    (r"\.dconv\.", ".depthwise."),
    (r"\.pconv\.", ".pointwise."),
    (r"^backbone\.lateral_conv0\.", "pyramid.reduce.0."),
    (r"^backbone\.reduce_conv1\.", "pyramid.reduce.1."),
    (r"^backbone\.C3_p4\.", "pyramid.down.0."),
    (r"^backbone\.C3_p3\.", "pyramid.down.1."),
    (r"^backbone\.bu_conv2\.", "pyramid.stride.0."),
    (r"^backbone\.bu_conv1\.", "pyramid.stride.1."),
    (r"^backbone\.C3_n3\.", "pyramid.up.0."),
    (r"^backbone\.C3_n4\.", "pyramid.up.1."),
    (r"^backbone\.backbone\.stem\.conv\.", "backbone.stem."),
    (r"^backbone\.backbone\.dark2\.", "backbone.stages.0."),
    (r"^backbone\.backbone\.dark3\.", "backbone.stages.1."),
    (r"^backbone\.backbone\.dark4\.", "backbone.stages.2."),
    (r"^backbone\.backbone\.dark5\.", "backbone.stages.3."),
    # The last stage has the pooling between the convolution and the cross-stage block.
    (r"^(backbone\.stages\.3\.1)\.conv1\.", r"\1.reduce."),
    (r"^(backbone\.stages\.3\.1)\.conv2\.", r"\1.merge."),
    (rf"^{BLOCK}\.conv1\.", r"\1.main."),
    (rf"^{BLOCK}\.conv2\.", r"\1.side."),
    (rf"^{BLOCK}\.conv3\.", r"\1.merge."),
    (r"\.m\.(\d+)\.", r".blocks.\1."),
    (r"^head\.cls_convs\.", "head.class_branches."),
    (r"^head\.reg_convs\.", "head.box_branches."),
    (r"^head\.cls_preds\.", "head.class_heads."),
    (r"^head\.reg_preds\.", "head.box_heads."),
    (r"^head\.obj_preds\.", "head.object_heads."),
]
"""Renaming of the keys of a released YOLOX to those of :class:`mot_core.nn.YOLOX`."""

FRESH = r"(detector\.)?head\.(class_heads\.\d+\.(weight|bias)|embedding_\w+\..*)"
"""Keys that may keep their initial values: heads of other classes, and embeddings, which no released weights have."""


def load_yolox(detector: YOLOX, state: Mapping[str, Tensor]) -> ImportReport:
    """Load a released YOLOX or the detector of a released ByteTrack into ``detector``.

    Class heads for another number of classes keep their initial values and are reported as re-made; so does the branch
    of embeddings, reported as missing.

    Args:
        detector: Detector of the same size with batch normalization; on "meta" it needs no initialization.
        state: Names and tensors as released; see :func:`mot_core.checkpoints.read_state_dict`.

    Raises:
        ValueError: If the checkpoint has another architecture.

    >>> load_yolox(YOLOX("nano"), {})
    Traceback (most recent call last):
    ValueError: the checkpoint is not a YOLOX of this architecture: backbone.stem.conv.weight is missing (and ...
    """
    return load_renamed(detector, state, lambda name: rename(name, YOLOX_KEYS), source="a YOLOX", fresh=FRESH)
