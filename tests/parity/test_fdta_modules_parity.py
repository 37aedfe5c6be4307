"""Single modules of FDTA equal the released ones on small inputs, with the fill rule of their pack."""

import json
import re

import pytest
import torch
from torch import nn

from fdta_adapters import (
    DepthBins,
    IdentityAdapter,
    SpatialAdapter,
    TemporalAdapter,
    depth_loss,
    depth_position,
)
from fdta_adapters.plugins.released_weights import load, spatial_state

RTOL = 1e-9
LAYER = [
    "self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight", "self_attn.out_proj.bias",
    "linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias",
    "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias",
]  # fmt: skip


def ramp(shape, k, scale=1.0):
    """Return the fill rule of the pack: s sin(1 + 0.37 n + 0.11 k) for the flat index n."""
    count = torch.Size(shape).numel()
    return scale * torch.sin(1 + 0.37 * torch.arange(count, dtype=torch.float64) + 0.11 * k).reshape(shape)


def gains(name, tensor):
    """Weights of norms, which are vectors, are 1 plus the ramp."""
    return 1 + tensor if name.endswith("weight") and tensor.ndim == 1 else tensor


def shape_of(text):
    return tuple(int(size) for size in text.split(","))


@pytest.fixture(scope="module")
def pack(mot_golden):
    return json.loads((mot_golden / "fdta_modules.json").read_text(encoding="utf-8"))


def test_temporal_adapter(pack):
    rules = pack["temporal"]
    frames, tracks, channels = rules["T"], rules["N"], rules["d_model"]
    adapter = TemporalAdapter(channels, rules["layers"], rules["heads"], rules["ffn"], zero_missing=False)
    adapter = adapter.double().eval()
    for index, layer in enumerate(adapter.layers):
        own = dict(layer.named_parameters())
        weights = {name: ramp(own[name].shape, 12 * index + k, 0.3) for k, name in enumerate(LAYER)}
        layer.load_state_dict({name: gains(name, tensor) for name, tensor in weights.items()})
    missing = torch.zeros(frames, tracks, dtype=torch.bool)
    for t, n in rules["missing_tn"]:
        missing[t, n] = True
    x = ramp((frames, tracks, channels), 100).masked_fill(missing[..., None], 0)
    with torch.no_grad():
        refined = adapter(x.transpose(0, 1), missing.t()).transpose(0, 1)
    # The position encoding is float32, as in the released module.
    for place, values in rules["out_t_n_first4"].items():
        t, n = shape_of(place)
        assert refined[t, n, : len(values)].tolist() == pytest.approx(values, rel=1e-6, abs=1e-8), place
    assert refined[~missing].sum().item() == pytest.approx(rules["sum_present"], rel=1e-6)
    assert refined.abs().sum().item() == pytest.approx(rules["abs_sum_all"], rel=1e-6)


@pytest.mark.parametrize("mode", ["code_mode", "paper_mode", "code_mode_no_mlp"])
def test_identity_adapter(pack, mode):
    rules = pack["identity"]
    shape, k, scale = re.fullmatch(r"ramp\(\(([\d,]+)\),k=(\d+),s=([\d.]+)\)", rules["emb"]).groups()
    emb = ramp(shape_of(shape), int(k), float(scale))
    sizes, first, last, spread = re.search(r"^([\d-]+), tensors k=(\d+)\.\.(\d+) .*s=([\d.]+)$", rules["mlp"]).groups()
    sizes = [int(size) for size in sizes.split("-")]
    assert emb.shape[1] == sizes[0]
    options = {} if mode == "paper_mode" else {"reduction": "anchor", "scale_by_tau": True}
    layers = 0 if mode.endswith("no_mlp") else len(sizes) - 1
    adapter = IdentityAdapter(sizes[0], sizes[1], sizes[-1], layers, tau=rules["tau"], **options).double()
    parameters = list(adapter.parameters())
    if layers:
        assert len(parameters) == int(last) - int(first) + 1
        for offset, parameter in enumerate(parameters):
            nn.init.zeros_(parameter).data += ramp(parameter.shape, int(first) + offset, float(spread))
    output = adapter(emb, torch.tensor(rules["ids"]), torch.tensor(rules["quality"], dtype=torch.float64))
    assert output.loss.item() == pytest.approx(rules[f"loss_{mode}"], rel=RTOL)
    assert output.num_pairs.item() == rules["ordered_pairs"]


def test_depth_bins(pack):
    rules = pack["lid"]
    left = DepthBins(rules["D"], rules["dmin"], rules["dmax"], "left_edge")
    center = DepthBins(rules["D"], rules["dmin"], rules["dmax"])
    assert left.delta == pytest.approx(rules["delta"], rel=1e-14)
    for bins, name in ((left, "left_edge"), (center, "midpoint")):
        values = bins.values(torch.float64)
        for k, value in rules[name].items():
            assert values[int(k)].item() == pytest.approx(value, rel=1e-12)
    for dtype in (torch.float32, torch.float64):
        depths = torch.tensor([float(depth) for depth in rules["bin_of"]], dtype=dtype)
        assert left.bin(depths).tolist() == list(rules["bin_of"].values())


@pytest.fixture(scope="module")
def spatial(pack):
    rules, lid = pack["spatial"], pack["lid"]
    ks, scale, shapes, position_k, side, count, edge = re.search(
        r"ramp k=([\d,]+) \(s=([\d.]+)\) of (.*?); pos k=(\d+); padding: (last|first)(?: (\d+))? (column|row)s? True",
        rules["features"],
    ).groups()
    shapes = [shape_of(shape) for shape in re.findall(r"\(([\d,]+)\)", shapes)]
    levels = [ramp(shape, k, float(scale)) for shape, k in zip(shapes, shape_of(ks), strict=True)]
    bins = DepthBins(lid["D"], lid["dmin"], lid["dmax"], "left_edge")
    adapter = SpatialAdapter(shapes[0][1], 0, 8, bins, mask_padding=False).double().eval()
    own = {theirs: name for name, theirs in released_names(rules["tensor_order"]).items()}
    state = {}
    for k, name in enumerate(rules["tensor_order"]):
        shape = adapter.state_dict()[own[name]].shape
        state[f"detr.depth_predictor.{name}"] = gains(name, ramp(shape, k, 1.0 if "pos_embed" in name else 0.05))
    assert set(load(adapter, spatial_state(state, bins), "the pack")) == set(state)
    mask = torch.zeros(len(levels[0]), *levels[0].shape[2:], dtype=torch.bool)
    rows = slice(-int(count or 1), None) if side == "last" else slice(int(count or 1))
    (mask[..., rows] if edge == "column" else mask[:, rows]).fill_(True)
    masks = [mask, *(torch.zeros(len(level), *level.shape[2:], dtype=torch.bool) for level in levels[1:])]
    positions = [ramp(levels[0].shape, int(position_k), float(scale)), *levels[1:]]
    with torch.no_grad():
        return adapter, adapter.encode(levels, masks, positions)


def released_names(names):
    """Return our names of the tensors of the pack."""
    prefix = "detr.depth_predictor."
    state = spatial_state({prefix + name: torch.zeros(0) for name in names}, DepthBins())
    return {ours: theirs.removeprefix(prefix) for theirs, (ours, _) in state.items()}


def test_spatial_adapter(pack, spatial):
    rules = pack["spatial"]
    adapter, state = spatial
    height, width = state.depth.shape[1:]
    for name, values in rules.items():
        if row := re.fullmatch(r"depth_row(\d+)", name):
            assert state.depth[0, int(row[1])].tolist() == pytest.approx(values, rel=1e-6)
    assert state.depth.sum().item() == pytest.approx(rules["depth_sum"], rel=1e-6)
    assert state.logits.sum().item() == pytest.approx(rules["logits_sum"], rel=1e-8)
    assert state.logits.abs().sum().item() == pytest.approx(rules["logits_abs_sum"], rel=1e-8)
    position = depth_position(state.depth, adapter.position.weight)
    memory = state.memory.view(1, height, width, -1)
    assert memory.abs().sum().item() == pytest.approx(rules["memory_abs_sum"], rel=1e-5)
    for tensor, kind in ((position, "pe"), (memory, "memory")):
        for name, values in rules.items():
            if place := re.fullmatch(rf"{kind}_first(\d+)_at_(\d+)_(\d+)", name):
                count, y, x = (int(number) for number in place.groups())
                assert tensor[0, y, x, :count].tolist() == pytest.approx(values, rel=1e-4, abs=1e-5)


def test_depth_loss(pack, spatial):
    rules = pack["spatial"]["loss"]
    adapter, state = spatial
    offset, scale, frequency, shape = re.fullmatch(
        r"([\d.]+)\+([\d.]+)\*sin\(([\d.]+)\*n\), \(([\d,]+)\) row-major", rules["depth_map"]
    ).groups()
    rows, columns = shape_of(shape)
    n = torch.arange(rows * columns, dtype=torch.float64).reshape(1, 1, rows, columns)
    target = float(offset) + float(scale) * torch.sin(float(frequency) * n)
    boxes = torch.tensor(rules["boxes_xyxy_feature_grid"], dtype=torch.float64)
    everywhere = torch.ones_like(state.padding)
    values, _ = adapter._target(state, target, everywhere)
    for name, bins in rules.items():
        if row := re.fullmatch(r"target_bins_row(\d+)", name):
            assert adapter.bins.bin(values)[0, int(row[1])].tolist() == bins
    for smoothing, name in ((0.0, "clean_mean_w_fl"), (1e-6, "reference_value_with_1e-6_smoothing")):
        loss = adapter.loss(
            state, target, [boxes], everywhere, foreground_weight=rules["w_fg"], smoothing=smoothing
        )  # fmt: skip
        assert loss.item() == pytest.approx(rules[name], rel=1e-6), name
        doubled = depth_loss(
            state.logits.repeat(2, 1, 1, 1), adapter.bins.bin(values).repeat(2, 1, 1), everywhere.repeat(2, 1, 1)
        )
        assert doubled[1].item() == 2 * everywhere.sum().item()
