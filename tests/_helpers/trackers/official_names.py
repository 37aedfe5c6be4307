"""Key names of released checkpoints for mot_core detectors."""

import re

# Model names and official names; the importer maps in the other direction.
OFFICIAL = [
    ("backbone.", "backbone.0.body."),
    ("projections.", "input_proj."),
    ("encoder.level_embed", "transformer.level_embed"),
    ("reference_points.", "transformer.reference_points."),
    ("class_heads.", "class_embed."),
    ("decoder.box_heads.", "bbox_embed."),
    ("decoder.anchor_position.head.", "transformer.decoder.ref_point_head."),
    ("decoder.anchor_position.scale.", "transformer.decoder.query_scale."),
    ("encoder.", "transformer.encoder."),
    ("decoder.", "transformer.decoder."),
]
PARTS = {
    "encoder": {"self_attn_norm": "norm1", "ffn.norm": "norm2"},
    "decoder": {
        "cross_attn_norm": "norm1",
        "self_attn_norm": "norm2",
        "ffn.norm": "norm3",
        "track_attn_norm": "norm4",
        "track_attn": "update_attn",
    },
}


def officially(state):
    """Return a state dict with the released names; heads are stored twice."""
    official = {}
    for name, tensor in state.items():
        start, new = next(((a, b) for a, b in OFFICIAL if name.startswith(a)), ("", ""))
        renamed = new + name.removeprefix(start)
        for ours, theirs in PARTS.get(name.split(".")[0], {}).items():
            renamed = renamed.replace(f".{ours}.", f".{theirs}.")
        renamed = renamed.replace(".ffn.linear", ".linear")
        official[renamed] = tensor
        if renamed.startswith("bbox_embed."):
            official[f"transformer.decoder.{renamed}"] = tensor
    return official


YOLOX = [
    ("backbone.stem.", "backbone.backbone.stem.conv."),
    *((f"backbone.stages.{index}.", f"backbone.backbone.dark{index + 2}.") for index in range(4)),
    ("pyramid.reduce.0.", "backbone.lateral_conv0."),
    ("pyramid.reduce.1.", "backbone.reduce_conv1."),
    ("pyramid.down.0.", "backbone.C3_p4."),
    ("pyramid.down.1.", "backbone.C3_p3."),
    ("pyramid.stride.0.", "backbone.bu_conv2."),
    ("pyramid.stride.1.", "backbone.bu_conv1."),
    ("pyramid.up.0.", "backbone.C3_n3."),
    ("pyramid.up.1.", "backbone.C3_n4."),
    ("head.class_branches.", "head.cls_convs."),
    ("head.box_branches.", "head.reg_convs."),
    ("head.class_heads.", "head.cls_preds."),
    ("head.box_heads.", "head.reg_preds."),
    ("head.object_heads.", "head.obj_preds."),
]
LAYERS = {
    ".main.": ".conv1.", ".side.": ".conv2.", ".reduce.": ".conv1.", ".blocks.": ".m.",
    ".norm.": ".bn.", ".depthwise.": ".dconv.", ".pointwise.": ".pconv.",
}  # fmt: skip


def officially_yolox(state):
    """Return a state dict with the names of a released YOLOX; embeddings have none."""
    official = {}
    for name, tensor in state.items():
        if name.startswith("head.embedding_"):
            continue
        start, new = next(((a, b) for a, b in YOLOX if name.startswith(a)), ("", ""))
        renamed = new + name.removeprefix(start)
        for ours, theirs in LAYERS.items():
            renamed = renamed.replace(ours, theirs)
        # The third convolution of a cross-stage block, the second of the pooling.
        renamed = re.sub(r"\.merge\.", ".conv2." if ".dark5.1." in renamed else ".conv3.", renamed)
        official[renamed] = tensor
    return official
