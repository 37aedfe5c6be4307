"""Spatial adapter: depth, padding, gradient routes, gates, against loops."""

import copy

import pytest
import torch
import torch.nn.functional as F

from _helpers import fdta_reference as reference
from fdta_adapters import DepthBins, SpatialAdapter

SIZES = ((4, 6), (2, 3), (1, 2))
BINS = DepthBins(7, 0.5, 20.0)


def make(dtype=torch.float64, seed=0, channels=8, **options):
    adapter = SpatialAdapter(channels, 2, 2, BINS, **({"dropout": 0.0} | options))
    return reference.randomize(adapter, seed).to(dtype).eval()


def example(images=2, channels=8, seed=0, dtype=torch.float64, padded=1):
    """Features, masks and positions; the last ``padded`` columns of the last image are padding."""
    random = torch.Generator().manual_seed(seed)
    levels = [torch.randn(images, channels, *size, generator=random, dtype=dtype) for size in SIZES]
    positions = [torch.randn(level.shape, generator=random, dtype=dtype) for level in levels]
    masks = [torch.zeros(images, *size, dtype=torch.bool) for size in SIZES]
    if padded:
        masks[0][-1, :, -2 * padded :] = True
        masks[1][-1, :, -padded:] = True
    return levels, masks, positions


def queries(images=2, count=3, channels=8, seed=5, dtype=torch.float64):
    return torch.randn(images, count, channels, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def refine(adapter, inputs, asked=None):
    state = adapter.encode(*inputs)
    asked = queries(len(inputs[0][0])) if asked is None else asked
    for layer in range(2):
        asked = adapter.attend(layer, asked, state)
    return asked


@pytest.mark.parametrize("residual", ["postnorm", "gated"])
def test_equals_loops(residual):
    adapter, (levels, masks, positions) = make(residual=residual), example()
    state = adapter.encode(levels, masks, positions)
    asked = queries()
    found = adapter.attend(1, asked, state)
    clean = [level.masked_fill(mask[:, None], 0) for level, mask in zip(levels, masks, strict=True)]
    up = [F.interpolate(level, SIZES[0], mode="bilinear", align_corners=False) for level in clean]
    extractor = adapter.extractor
    dense = extractor.blocks((extractor.fine(up[0]) + extractor.coarse(up[1]) + extractor.coarse(up[2])) / 3)
    torch.testing.assert_close(state.logits, adapter.head(dense))
    for image in range(2):
        keys = (~masks[0][image]).flatten().nonzero().squeeze(1).tolist()
        tokens, position = dense[image].flatten(1).t(), positions[0][image].flatten(1).t()
        encoded = reference.encoder_layer(adapter.encoder[0], tokens, position, [keys] * len(tokens))
        for cell, probabilities in enumerate(state.logits[image].softmax(0).flatten(1).t()):
            depth = sum(p * value for p, value in zip(probabilities.tolist(), BINS.values().tolist(), strict=True))
            assert state.depth[image].flatten()[cell].item() == pytest.approx(depth, rel=1e-6)
            table, lower = adapter.position.weight, int(depth)
            encoded[cell] += (1 - depth + lower) * table[lower] + (depth - lower) * table[lower + 1]
        torch.testing.assert_close(state.memory[image][keys], encoded[keys], rtol=1e-4, atol=1e-5)
        cross = adapter.cross[1]
        if residual == "gated":
            attended = reference.attend(cross.attention, cross.norm(asked[image]), *[encoded] * 2, [keys] * 3)
            wanted = asked[image] + cross.gate.tanh() * attended
        else:
            wanted = cross.norm(
                asked[image] + reference.attend(cross.attention, asked[image], *[encoded] * 2, [keys] * 3)
            )
        torch.testing.assert_close(found[image], wanted, rtol=1e-4, atol=1e-5)


def test_closed_gates_are_the_identity():
    adapter = make(residual="gated")
    for cross in adapter.cross:
        cross.gate.data.zero_()
    assert torch.equal(refine(adapter, example()), queries())
    fresh = SpatialAdapter(8, 2, 2, BINS, residual="gated").double()
    assert torch.equal(refine(fresh, example()), queries()), "gates start closed"


def test_features_receive_no_gradient():
    adapter, inputs = make(), example()
    for level in inputs[0]:
        level.requires_grad_()
    refine(adapter, inputs).sum().backward()
    assert all(level.grad is None for level in inputs[0])
    refine(make(detach_features=False), inputs).square().sum().backward()
    assert all(level.grad.any() for level in inputs[0])


@pytest.mark.parametrize("detach_depth", [False, True])
def test_task_gradient_reaches_the_extractor_through_the_depth(detach_depth):
    adapter = make(detach_depth=detach_depth)
    refine(adapter, example()).square().sum().backward()
    reached = [one.grad is not None and bool(one.grad.any()) for one in adapter.extractor.parameters()]
    assert any(reached) == (not detach_depth)
    assert adapter.encoder[0].linear1.weight.grad.any()
    assert adapter.position.weight.grad.any()


def test_padding_content_has_no_effect():
    adapter, (levels, masks, positions) = make(), example()
    dirty = [level.masked_fill(mask[:, None], float("nan")) for level, mask in zip(levels, masks, strict=True)]
    one, other = adapter.encode(levels, masks, positions), adapter.encode(dirty, masks, positions)
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(adapter.attend(0, queries(), one), adapter.attend(0, queries(), other))
    target = torch.rand(2, 1, 8, 12, dtype=torch.float64) * 15 + 1
    garbage = target.clone()
    garbage[1, :, :, 8:] = 77.0
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    assert adapter.loss(one, target, mask) == adapter.loss(one, garbage, mask)


def test_fully_padded_image_is_finite():
    adapter, (levels, masks, positions) = make(), example()
    for mask in masks:
        mask[0] = True
    for name in ("postnorm", "gated"):
        adapter = make(residual=name)
        found = refine(adapter, (levels, masks, positions))
        assert found.isfinite().all()
        if name == "gated":
            assert torch.equal(found[0], queries()[0])
    state = adapter.encode(levels, masks, positions)
    loss = adapter.loss(state, torch.ones(2, 1, 4, 6), torch.zeros(2, 4, 6).bool())
    loss.backward()
    assert loss.isfinite()
    assert all(one.grad is None or one.grad.isfinite().all() for one in adapter.parameters())


def test_permuted_and_chunked_images():
    adapter, (levels, masks, positions) = make(), example(images=3)
    wanted = refine(adapter, (levels, masks, positions))
    order = torch.tensor([2, 0, 1])
    permuted = [[one[order] for one in part] for part in (levels, masks, positions)]
    torch.testing.assert_close(refine(adapter, permuted, queries(3)[order]), wanted[order])
    single = [
        refine(
            adapter, [[one[i : i + 1] for one in part] for part in (levels, masks, positions)], queries(3)[i : i + 1]
        )
        for i in range(3)
    ]
    torch.testing.assert_close(torch.cat(single), wanted)
    some = queries(3)[:, [2, 0]]
    torch.testing.assert_close(refine(adapter, (levels, masks, positions), some), wanted[:, [2, 0]])


def test_layouts():
    adapter, inputs = make(), example()
    other = make(layout="QBC")
    found = refine(other, inputs, queries().transpose(0, 1))
    torch.testing.assert_close(found.transpose(0, 1), refine(adapter, inputs))


@pytest.mark.parametrize("residual", ["postnorm", "gated"])
def test_checkpointing_has_the_same_gradients(residual):
    gradients = []
    for checkpointing in (False, True):
        adapter = make(checkpointing=checkpointing, residual=residual, dropout=0.3).train()
        torch.manual_seed(0)
        state = adapter.encode(*example())
        loss = adapter.loss(state, torch.full((2, 1, 4, 6), 5.0), torch.zeros(2, 4, 6).bool())
        (adapter.attend(0, queries(), state).square().sum() + loss).backward()
        gradients.append({name: one.grad for name, one in adapter.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_loss_equals_loops():
    adapter, inputs = make(), example(padded=0)
    state = adapter.encode(*inputs)
    target = torch.rand(2, 1, 4, 6, dtype=torch.float64) * 25
    target[0, 0, 1, 2] = float("nan")
    boxes = [torch.tensor([[0.5, 0.5, 2.5, 3.0]]), torch.zeros(0, 4)]
    edges = reference.bin_edges(BINS.num_bins, BINS.d_min, BINS.d_max)
    bins = torch.tensor(
        [[[reference.find_bin(d, edges) for d in row] for row in image[0].tolist()] for image in target]
    )
    mask = reference.foreground(torch.stack([boxes[0], torch.zeros(1, 4)]), torch.tensor([[True], [False]]), 4, 6)
    wanted = reference.depth_loss(state.logits, bins, mask, target[:, 0].isfinite(), 7.0)
    torch.testing.assert_close(adapter.loss(state, target, boxes), wanted)
    torch.testing.assert_close(adapter.loss(state, target, mask), wanted)
    twice = [torch.cat([boxes[0], boxes[0]]), boxes[1]]
    assert torch.equal(adapter.loss(state, target, twice), adapter.loss(state, target, boxes)), "a union of boxes"


def test_loss_is_independent_of_the_amount_of_padding():
    """Two more columns of padding, one per cell of the coarser level, change no number of a model without norms."""
    adapter = make()
    for module in adapter.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x: x
    levels, masks, positions = example(images=1, padded=0)
    target, mask = torch.rand(1, 1, 8, 12, dtype=torch.float64) * 20, torch.zeros(1, 4, 6).bool()
    mask[:, 1:3, 2:4] = True
    narrow = adapter.encode(levels[:1] * 3, masks[:1] * 3, positions[:1] * 3)
    wide = adapter.encode(
        *(
            [F.pad(one, (0, 2), value=fill)] * 3
            for one, fill in ((levels[0], 9.0), (masks[0], True), (positions[0], 0.0))
        )
    )
    inner = torch.ones(1, 4, 6, dtype=torch.bool)
    inner[:, :, 3:] = False  # convolutions of the border read padding instead of nothing
    padded = F.pad(target, (0, 4), value=5.0)
    one = adapter.loss(narrow, target, mask, inner)
    other = adapter.loss(wide, padded, F.pad(mask, (0, 2)), F.pad(inner, (0, 2)))
    torch.testing.assert_close(one, other)


def test_coarser_memory():
    adapter = make(encoder_stride=16)
    levels, masks, positions = example()
    state = adapter.encode(levels, masks, positions)
    assert state.memory.shape == (2, 6, 8)
    assert state.depth.shape == (2, 4, 6)
    assert state.key_padding.tolist() == [[False] * 6, [False, False, True] * 2]
    dirty = [level.masked_fill(mask[:, None], 9.0) for level, mask in zip(levels, masks, strict=True)]
    assert torch.equal(refine(adapter, (dirty, masks, positions)), refine(adapter, (levels, masks, positions)))
    assert refine(adapter, (levels, masks, positions)).isfinite().all()
    odd = [level[..., :5] for level in levels]  # 4 x 5 cells
    state = adapter.encode(odd, [mask[..., :5] for mask in masks], [one[..., :5] for one in positions])
    assert state.memory.shape == (2, 6, 8)


def test_separate_projections_and_one_level():
    separate = make(share_coarse=False)
    assert len(separate.extractor.coarse) == 2
    assert refine(separate, example()).isfinite().all()
    single = make(levels=(1,))
    assert single.encode(*example()).depth.shape == (2, 2, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    wanted = make().encode(*example())
    levels, masks, positions = example()
    adapter = make(dtype)
    state = adapter.encode([one.to(dtype) for one in levels], masks, [one.to(dtype) for one in positions])
    assert state.depth.dtype == torch.float32
    assert state.memory.dtype == dtype
    torch.testing.assert_close(state.depth.double(), wanted.depth, rtol=0.05, atol=0.3)
    assert adapter.attend(0, queries().to(dtype), state).dtype == dtype


def test_autocast_keeps_the_depth_in_float32():
    adapter = make(torch.float32)
    levels, masks, positions = example()
    levels, positions = ([one.float() for one in part] for part in (levels, positions))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = adapter.encode(levels, masks, positions)
        loss = adapter.loss(state, torch.full((2, 1, 4, 6), 5.0), torch.zeros(2, 4, 6).bool())
        found = adapter.attend(0, queries(dtype=torch.float32), state)
    assert state.depth.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(state.depth.double(), make().encode(*example()).depth, rtol=0.05, atol=0.3)
    assert found.isfinite().all()


def test_state_dict_round_trip():
    adapter, other = make(), make(seed=1)
    assert not torch.equal(refine(adapter, example()), refine(other, example()))
    other.load_state_dict(copy.deepcopy(adapter.state_dict()))
    assert torch.equal(refine(adapter, example()), refine(other, example()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder_stride": 12}, "encoder_stride: expected a multiple of the 8 pixels of the finest level, got 12"),
        ({"residual": "add"}, "residual: expected postnorm or gated, got 'add'"),
        ({"layout": "CBQ"}, "layout: expected BQC or QBC, got 'CBQ'"),
        ({"num_heads": 3}, "num_heads: expected a divisor of the 8 channels, got 3"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpatialAdapter(**({"channels": 8, "num_heads": 2} | arguments))
