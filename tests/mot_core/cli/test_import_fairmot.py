"""`mot import` of a released FairMOT: all keys of its layout, also of the real size."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from mot_core.checkpoints import load_fairmot
from mot_core.nn import FairMOTNetwork
from mot_core.trackers import FairMOTSettings, Tracker

HEADS = {"heat_head": "hm", "side_head": "wh", "offset_head": "reg", "identity_head": "id"}
PARTS = {"project": "proj", "up": "up", "node": "node"}


def official_name(name):
    """Return the released name of one of our keys."""
    first, _, rest = name.partition(".")
    if first in HEADS:
        return f"{HEADS[first]}.{rest}"
    if first == "backbone":
        if match := re.match(r"(stem|level0|level1)\.(conv|norm)\.(.*)", rest):
            start = "base_layer" if match[1] == "stem" else match[1]
            return f"base.{start}.{int(match[2] == 'norm')}.{match[3]}"
        rest = re.sub(r"^trees\.(\d)\.", lambda match: f"level{int(match[1]) + 2}.", rest)
        return "base." + re.sub(r"\.norm(\d?)\.", r".bn\1.", rest)
    match = re.fullmatch(r"(?:steps\.(\d)|last)\.(project|up|node)\.(\d)\.(.*)", rest)
    start = "ida_up" if match[1] is None else f"dla_up.ida_{match[1]}"
    last = match[4].replace("norm.", "actf.0.").replace("conv.offsets.", "conv.conv_offset_mask.")
    return f"{start}.{PARTS[match[2]]}_{int(match[3]) + 1}.{last}"


def officially(state):
    return {official_name(name): value for name, value in state.items()}


def test_layout_of_the_released_network():
    """Some keys and shapes of DLA-34 with deformable convolutions, and the tensors that it stores but never uses."""
    with torch.device("meta"):
        network = FairMOTNetwork()
    state = officially(network.state_dict())
    shapes = {
        "base.base_layer.0.weight": (16, 3, 7, 7),
        "base.level1.1.running_mean": (32,),
        "base.level2.tree1.conv1.weight": (64, 32, 3, 3),
        "base.level2.project.0.weight": (64, 32, 1, 1),
        "base.level2.root.conv.weight": (64, 128, 1, 1),
        "base.level3.tree1.tree1.bn2.weight": (128,),
        "base.level3.tree1.project.1.weight": (128,),
        "base.level3.tree2.root.conv.weight": (128, 448, 1, 1),
        "base.level4.tree2.root.conv.weight": (256, 896, 1, 1),
        "base.level5.root.conv.weight": (512, 1280, 1, 1),
        "dla_up.ida_0.proj_1.conv.weight": (256, 512, 3, 3),
        "dla_up.ida_0.proj_1.conv.conv_offset_mask.weight": (27, 512, 3, 3),
        "dla_up.ida_0.up_1.weight": (256, 1, 4, 4),
        "dla_up.ida_2.node_3.actf.0.running_var": (64,),
        "ida_up.up_2.weight": (64, 1, 8, 8),
        "ida_up.node_1.conv.bias": (64,),
        "hm.2.bias": (1,), "wh.2.weight": (4, 256, 1, 1), "reg.0.weight": (256, 64, 3, 3),
        "id.2.weight": (128, 256, 1, 1),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    unused = {
        "base.level3.project.0.weight": (128, 64, 1, 1), "base.level4.project.1.bias": (256,),
        "base.fc.weight": (1000, 512, 1, 1),
    }  # fmt: skip
    full = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in state.items()}
    report = load_fairmot(network, full | {name: torch.zeros(shape) for name, shape in unused.items()})
    assert set(report.used) == set(state)
    assert set(report.unused) == set(unused)
    assert not report.missing


def test_released_weights_become_a_checkpoint(mot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"size": "micro", "embed_dim": 8, "hidden": 16}
    released = FairMOTSettings(**sizes, num_classes=2).build().state_dict()
    torch.save({"state_dict": officially(released), "epoch": 30}, "released.pth")
    model = {"class_path": "FairMOT", "init_args": {"detector": sizes}}
    Path("small.yaml").write_text(yaml.safe_dump({"model": model}))
    done = mot("import", "released.pth", "ours.ckpt", "--config", "small.yaml", "--report", "keys.txt")
    assert done.code == 0, done.err
    report = Path("keys.txt").read_text()
    assert "re-made: detector.heat_head.2.weight" in report
    assert "missing: criterion.detection_variance" in report
    loaded = Tracker.from_checkpoint("ours.ckpt").detector.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in released.items() if "heat_head.2" not in name)


def test_another_architecture():
    state = officially(FairMOTNetwork("micro", hidden=8, embed_dim=4).state_dict())
    with pytest.raises(ValueError, match=r"the checkpoint is not a FairMOT of this architecture: hm\.0\.weight is"):
        load_fairmot(FairMOTNetwork("micro", hidden=16, embed_dim=4), state)
