"""`mot import` of the association of a released GTR."""

from pathlib import Path

import torch
import yaml

from mot_core.trackers import AssociationSettings, Tracker

NAMES = {
    "fc": "asso_head.fc",
    "encoder.attention.": "transformer.encoder.layers.0.self_attn.",
    "encoder.": "transformer.encoder.layers.0.",
    "decoder.attention.": "transformer.decoder.layers.0.multihead_attn.",
    "decoder.": "transformer.decoder.layers.0.",
    "query_projection.": "asso_predictor.q_proj.",
    "key_projection.": "asso_predictor.k_proj.",
    "box_embedding.": "pos_emb.",
    "time_embedding.": "temp_emb.",
}
SIZES = {"embed_dim": 32, "pool_size": 3, "num_heads": 2, "projection_layers": 2, "positions": True}
DETECTOR = {"size": "micro", "norm": "group", "channels": 16, "extra_levels": 0}


def officially(state):
    """Return a state dict with the names of a released GTR."""
    official = {}
    for name, tensor in state.items():
        ours = next(one for one in NAMES if name.startswith(one))
        official[f"roi_heads.{NAMES[ours]}{name.removeprefix(ours)}"] = tensor
    return official


def test_released_association_becomes_a_checkpoint(mot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    released = AssociationSettings(**SIZES).build(16).state_dict()
    torch.save({"model": officially(released) | {"backbone.fpn_lateral3.weight": torch.ones(2)}}, "released.pth")
    model = {"class_path": "GTR", "init_args": {"detector": DETECTOR, "association": SIZES}}
    Path("small.yaml").write_text(yaml.safe_dump({"model": model}))
    done = mot("import", "released.pth", "ours.ckpt", "--config", "small.yaml", "--report", "keys.txt")
    assert done.code == 0, done.err
    report = Path("keys.txt").read_text()
    assert f"{len(released)} keys used, 1 unused" in report
    assert (
        "unused: backbone.fpn_lateral3.weight (belongs to the released detector, which has another architecture; train"
        in report
    )
    assert "missing: detector.backbone.stem.conv.weight" in report
    loaded = Tracker.from_checkpoint("ours.ckpt").global_association.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in released.items())
    torch.save({"model": {"head.weight": torch.ones(2)}}, "other.pth")
    done = mot("import", "other.pth", "no.ckpt", "--config", "small.yaml")
    assert done.code == 1
    assert "the checkpoint is not an association head of GTR of this architecture: fc1.weight is missing" in done.err
