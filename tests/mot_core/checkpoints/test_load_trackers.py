"""Import of MOTIP, MOTR and MeMOTR: every key is mapped, whatever the sizes."""

import pytest
import torch

from _helpers.trackers.official_names import officially
from mot_core.checkpoints import load_deformable_detr
from mot_core.nn import (
    DeformableDETR,
    IDDecoder,
    MotionInteraction,
    QueryInteraction,
    SmallBackbone,
    TemporalInteraction,
    TrajectoryModel,
)
from mot_core.trackers.memotr import load_memotr
from mot_core.trackers.motip import load_motip
from mot_core.trackers.motr import load_motr


def make_detector(**options):
    layers = {"num_queries": 5, "num_encoder_layers": 1, "num_decoder_layers": 1, "ffn_dim": 32, "num_levels": 3}
    return DeformableDETR(SmallBackbone(8), embed_dim=32, num_heads=4, **layers, **options)


def make_identity():
    return TrajectoryModel(32, 64), IDDecoder(32, 32, num_words=6, num_layers=2, max_distance=5)


def official_identity(trajectory_model, id_decoder):
    """Our two modules with the key names of MOTIP."""
    state = {}
    for name, tensor in trajectory_model.state_dict().items():
        name = name.replace("adapter.norm", "norm").replace("ffn.norm", "ffn_norm")
        state[f"trajectory_modeling.{name}"] = tensor
    for name, tensor in id_decoder.state_dict().items():
        part, _, rest = name.partition(".")
        layer, _, field = rest.partition(".")
        if name == "time_bias":
            state["id_decoder.rel_pos_embeds"] = tensor
        elif part == "embed_to_word":
            state |= {f"id_decoder.embed_to_word_layers.{index}.weight": tensor for index in range(2)}
        elif part == "ffns" and field.startswith("norm"):
            state[f"id_decoder.ffn_norm_layers.{layer}.{field.removeprefix('norm.')}"] = tensor
        elif part in ("ffns", "self_attns", "cross_attns", "self_attn_norms", "cross_attn_norms"):
            state[f"id_decoder.{part.removesuffix('s')}_layers.{rest}"] = tensor
        else:
            state[f"id_decoder.{name}"] = tensor
    return state


def test_motip_keys():
    source, target = (make_detector(), *make_identity()), (make_detector(), *make_identity())
    state = {f"detr.{name}": tensor for name, tensor in officially(source[0].state_dict()).items()}
    state |= official_identity(*source[1:]) | {"trajectory_embedding.norm": torch.zeros(1)}
    report = load_motip(*target, state)
    for one, other in zip(source, target, strict=True):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert report.unused == {"trajectory_embedding.norm": "no such key in the model"}
    assert set(report.used) | set(report.unused) == set(state)
    assert report.used["id_decoder.ffn_norm_layers.1.weight"] == "id_decoder.ffns.1.norm.weight"
    assert report.used["detr.query_embed.weight"] == "detector.query_embed.weight"


def official_detector():
    return {f"detr.{name}": tensor for name, tensor in officially(make_detector().state_dict()).items()}


def test_motip_with_other_vocabulary_is_rejected():
    state = official_identity(*make_identity())
    decoder = IDDecoder(32, 32, num_words=9, num_layers=2, max_distance=5)
    with pytest.raises(ValueError, match=r"not MOTIP of this architecture: id_decoder\.\S* is .* in the checkpoint"):
        load_motip(make_detector(), TrajectoryModel(32, 64), decoder, official_detector() | state)


@pytest.mark.parametrize("interaction", [QueryInteraction, MotionInteraction])
def test_motr_keys(interaction):
    names = {
        "self_attn_norm": "norm1",
        "ffn.norm": "norm2",
        "ffn.linear": "linear",
        "position_update.layers.0": "linear_pos1",
        "position_update.layers.1": "linear_pos2",
        "position_norm": "norm_pos",
        "content_update.layers.0": "linear_feat1",
        "content_update.layers.1": "linear_feat2",
        "content_norm": "norm_feat",
    }
    source, target = QueryInteraction(32, 64, 4), interaction(32, 64, 4)
    state = {"track_embed.norm3.weight": torch.zeros(32)}
    for name, tensor in source.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[f"track_embed.{name}"] = tensor
    detector = make_detector(track_attention=True)
    report = load_motr(make_detector(track_attention=True), target, state | officially(detector.state_dict()))
    assert all(torch.equal(tensor, target.state_dict()[name]) for name, tensor in source.state_dict().items())
    assert report.unused == {"track_embed.norm3.weight": "not needed"}
    added = ["query_interaction.motion.weight", "query_interaction.motion.bias"]  # new in MOTE
    assert list(report.missing) == added[: len(target.state_dict()) - len(source.state_dict())]


def test_memotr_keys():
    names = {
        "confidence": "confidence_weight_net.0",
        "fusion": "short_memory_fusion",
        "query_norm": "query_feat_norm",
        "query_ffn": "query_feat_ffn",
        "position_head": "query_pos_head",
    }
    source, target = TemporalInteraction(32, 64, 4), TemporalInteraction(32, 64, 4)
    state = {}
    for name, tensor in source.state_dict().items():
        part, _, rest = name.partition(".")
        state[f"query_updater.{names.get(part, part)}.{rest}"] = tensor
    detector, loaded = make_detector(dab=True), make_detector(dab=True)
    own = {"anchors.weight": "det_anchor", "query_embed.weight": "det_query_embed"}
    state |= {own.get(name, name): tensor for name, tensor in officially(detector.state_dict()).items()}
    report = load_memotr(loaded, target, state | {"epoch_norm": torch.zeros(1)})
    assert report.unused == {"epoch_norm": "no such key in the model"}
    for one, other in ((source, target), (detector, loaded)):
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    with pytest.raises(ValueError, match="not MeMOTR of this architecture: det_query_embed is"):
        load_memotr(make_detector(), TemporalInteraction(32, 64, 4), state)


def test_dab_deformable_detr_as_initialization():
    """Names of the detector that MeMOTR starts from, with the classes of COCO."""
    detector = make_detector(dab=True, num_classes=91)
    own = {"anchors.weight": "refpoint_embed.weight", "query_embed.weight": "tgt_embed.weight"}
    state = {own.get(name, name): tensor for name, tensor in officially(detector.state_dict()).items()}
    loaded = make_detector(dab=True)
    report = load_deformable_detr(loaded, state)
    assert set(report.remade) == {"class_heads.0.weight", "class_heads.0.bias"} == set(state_of_heads(loaded))
    assert torch.equal(loaded.anchors.weight, detector.anchors.weight)
    scale = "decoder.anchor_position.scale.layers.0.weight"
    assert torch.equal(loaded.state_dict()[scale], detector.state_dict()[scale])


def state_of_heads(detector):
    return [name for name in detector.state_dict() if name.startswith("class_heads.")]
