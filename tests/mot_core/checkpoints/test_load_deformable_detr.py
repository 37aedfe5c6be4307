"""Import of checkpoints: used keys, rejected files, and no execution of code in files."""

import pytest
import torch

from _helpers.trackers.official_names import officially
from mot_core.checkpoints import load_deformable_detr, load_renamed, read_state_dict
from mot_core.checkpoints.report import rename
from mot_core.nn import DeformableDETR, SmallBackbone


def make(**options):
    layers = {"num_queries": 5, "num_encoder_layers": 1, "num_decoder_layers": 2, "ffn_dim": 32, "num_levels": 3}
    return DeformableDETR(SmallBackbone(8), embed_dim=32, num_heads=4, **(layers | options))


@pytest.mark.parametrize("track_attention", [False, True])
@pytest.mark.parametrize("prefix", ["", "detr."])
def test_round_trip(prefix, track_attention):
    source, target = make(track_attention=track_attention), make(track_attention=track_attention)
    state = {prefix + name: tensor for name, tensor in officially(source.state_dict()).items()}
    if prefix:
        state["id_decoder.weight"] = torch.zeros(1)
    report = load_deformable_detr(target, state, prefix=prefix)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name
    assert set(report.used) == {name for name in state if name.startswith(prefix)}
    assert set(report.used.values()) == set(source.state_dict())
    assert report.unused == ({"id_decoder.weight": "not needed"} if prefix else {})
    assert (report.missing, report.remade) == ((), {})


def test_heads_of_other_classes_keep_initial_values():
    source, target = make(num_classes=91), make(num_classes=1)
    before = target.class_heads[1].weight.clone()
    report = load_deformable_detr(target, officially(source.state_dict()))
    assert torch.equal(target.class_heads[1].weight, before)
    assert torch.equal(target.query_embed.weight, source.query_embed.weight)
    assert set(report.remade) == {f"class_heads.{i}.{name}" for i in range(2) for name in ("weight", "bias")}
    assert report.unused["class_embed.0.weight"] == "re-made"
    assert "class_heads.1.bias ((91,) in the checkpoint, (1,) in the model)" in str(report)


def test_track_attention_is_optional():
    source, target = make(), make(track_attention=True)
    before = target.decoder.layers[0].track_attn.in_proj_weight.clone()
    report = load_deformable_detr(target, officially(source.state_dict()))
    assert len(report.missing) == 2 * 6
    assert all(".track_attn" in name for name in report.missing)
    assert torch.equal(target.decoder.layers[0].track_attn.in_proj_weight, before)
    assert "missing: decoder.layers.1.track_attn_norm.bias" in str(report)


@pytest.mark.parametrize("change", [{"track_attention": True}, {"num_classes": 3}])
def test_initial_values_on_meta_are_rejected(change):
    with torch.device("meta"):
        target = make(**change)
    with pytest.raises(ValueError, match=r'has no fresh values, because it is on "meta"'):
        load_deformable_detr(target, officially(make().state_dict()))


def test_loading_into_meta_skips_initialization():
    source = make()
    with torch.device("meta"):
        target = make()
    load_deformable_detr(target, officially(source.state_dict()))
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(target.eval()(image).logits, source.eval()(image).logits)


def test_module_dtype_is_kept():
    target = make().double()
    load_deformable_detr(target, officially(make().half().state_dict()))
    assert {parameter.dtype for parameter in target.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_queries": 7}, r"query_embed\.weight is \(5, 64\) in the checkpoint, \(7, 64\) in the model"),
        ({"num_decoder_layers": 3}, r"\.2\..* is missing \(and \d+ more\)"),
    ],
)
def test_other_architecture_is_rejected_without_loading(change, sentence):
    target = make(**change)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(ValueError, match=r"not a Deformable DETR of this architecture: .*" + sentence):
        load_deformable_detr(target, officially(make().state_dict()))
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_differing_copies_are_rejected():
    state = officially(make().state_dict())
    state["bbox_embed.0.layers.0.bias"] = state["bbox_embed.0.layers.0.bias"] + 1
    with pytest.raises(ValueError, match=r"are both decoder\.box_heads\.0\.layers\.0\.bias, with different values"):
        load_deformable_detr(make(), state)


def test_batch_counters_are_optional():
    norm = torch.nn.BatchNorm2d(2)
    state = {name: tensor for name, tensor in norm.state_dict().items() if "num_batches" not in name}
    assert load_renamed(norm, state, str, source="a norm").missing == ()
    old = {"old.x": torch.zeros(1), "new.x": torch.zeros(1)}
    report = load_renamed(norm, state | old, lambda name: rename(name, [(r"^old\.", None)]), source="a norm")
    assert report.unused == {"old.x": "not needed", "new.x": "no such key in the model"}


def test_file_contents(tmp_path):
    layer = torch.nn.Linear(2, 1)
    for content in (layer.state_dict(), {"model": layer.state_dict(), "epoch": 3}, {"state_dict": layer.state_dict()}):
        torch.save(content, tmp_path / "x.pth")
        assert set(read_state_dict(tmp_path / "x.pth")) == {"weight", "bias"}
    torch.save({"module.weight": torch.zeros(1), "step": 7}, tmp_path / "x.pth")
    assert set(read_state_dict(str(tmp_path / "x.pth"))) == {"weight"}

    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist or is not a file"):
        read_state_dict(tmp_path / "nowhere.pth")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r'none\.pth must hold a state dict, alone or under "model" or "state_dict"'):
        read_state_dict(tmp_path / "none.pth")
