"""The temporal interaction module against its formulas, and independence of tracks from padding."""

import math

import pytest
import torch

from mot_core.nn import TemporalInteraction

KINDS = pytest.mark.parametrize("dab", [True, False])


def make(dab=True, tracks=4):
    torch.manual_seed(0)
    module = TemporalInteraction(8, 16, 2, dab=dab, memory_rate=0.1).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    queries = torch.randn(2, tracks, 8 if dab else 16).double()
    references = torch.rand(2, tracks, 4 if dab else 2).double()
    return module.eval(), (queries, references, *torch.randn(3, 2, tracks, 8).double())


def two_layers(mlp, x):
    first, second = mlp.layers
    return (x @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias


def plain(module, query, reference, outputs, previous, memory):
    """Compute the update of the tracks of one clip, one track after the other."""
    positions, shorts = [], []
    for track in range(len(outputs)):
        if module.position_head is not None:
            encoded = []
            for coordinate in reference[track].tolist():
                for index in range(4):
                    angle = 2 * math.pi * coordinate / 10_000 ** (2 * (index // 2) / 4)
                    encoded.append(math.cos(angle) if index % 2 else math.sin(angle))
            positions.append(two_layers(module.position_head, torch.tensor(encoded).double()))
        else:
            positions.append(query[track, :8])
        trust = 1 / (1 + (-two_layers(module.confidence, outputs[track])).exp())
        shorts.append(two_layers(module.fusion, torch.cat([trust * outputs[track], previous[track]])))
    weight, bias = module.memory_attn.in_proj_weight.chunk(3), module.memory_attn.in_proj_bias.chunk(3)
    queries, memories = [], []
    for track in range(len(outputs)):
        asked = weight[0] @ (shorts[track] + positions[track]) + bias[0]
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            keys = [weight[1] @ (m + p) + bias[1] for m, p in zip(memory, positions, strict=True)]
            values = [weight[2] @ o + bias[2] for o in outputs]
            scores = torch.stack([asked[head] @ key[head] / 2 for key in keys]).softmax(0)
            heads.append(sum(score * value[head] for score, value in zip(scores, values, strict=True)))
        x = module.memory_norm(outputs[track] + module.memory_attn.out_proj(torch.cat(heads)))
        x = module.memory_ffn.norm(x + module.memory_ffn.linear2(module.memory_ffn.linear1(x).relu()))
        content = module.query_norm(memory[track] + x)
        content = module.query_ffn.norm(content + module.query_ffn.linear2(module.query_ffn.linear1(content).relu()))
        if module.position_update is not None:
            position = module.position_norm(positions[track] + two_layers(module.position_update, x))
            content = torch.cat([position, content])
        queries.append(content)
        memories.append(0.9 * memory[track] + 0.1 * outputs[track])
    return torch.stack(queries), torch.stack(memories)


@KINDS
@pytest.mark.parametrize("tracks", [1, 4])
@torch.no_grad()
def test_equals_loops(dab, tracks):
    module, inputs = make(dab, tracks)
    queries, memory = module(*inputs)
    for clip in range(2):
        expected = plain(module, *(one[clip] for one in inputs))
        torch.testing.assert_close(queries[clip], expected[0], rtol=1e-5, atol=1e-5)  # wavelengths are float32
        torch.testing.assert_close(memory[clip], expected[1])


@KINDS
def test_padding_and_order(dab):
    module, inputs = make(dab)
    valid = torch.tensor([[True, True, True, False], [True, True, False, False]])
    garbage = [one.masked_fill(~valid[..., None], 7.0) for one in inputs]
    result = module(*inputs, valid)
    for clip, count in ((0, 3), (1, 2)):
        alone = module(*(one[clip : clip + 1, :count] for one in inputs))
        for found in (result, module(*garbage, valid)):
            for one, other in zip(found, alone, strict=True):
                torch.testing.assert_close(one[clip : clip + 1, :count], other)
    order = [3, 1, 0, 2]
    for one, other in zip(module(*(x[:, order] for x in inputs)), module(*inputs), strict=True):
        torch.testing.assert_close(one, other[:, order])


@KINDS
def test_every_parameter_has_gradient(dab):
    module, inputs = make(dab)
    module(*inputs)[0].square().sum().backward()
    assert [name for name, parameter in module.named_parameters() if not parameter.grad.any()] == []


def test_gradients():
    module, inputs = make(tracks=2)
    assert torch.autograd.gradcheck(module, tuple(one.requires_grad_() for one in inputs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    module, inputs = make()
    module, inputs = module.float(), [one.float() for one in inputs]
    with torch.autocast("cpu", dtype=dtype):
        queries, _ = module(*inputs)
    torch.testing.assert_close(queries.float(), module(*inputs)[0], atol=0.1, rtol=0.05)
