"""Key names of released checkpoints for mot_core detectors."""

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
