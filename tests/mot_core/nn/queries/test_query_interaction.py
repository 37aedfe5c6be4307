"""The query interaction module against its formulas, and independence of tracks from padding."""

import torch

from mot_core.nn import QueryInteraction


def make():
    torch.manual_seed(0)
    module = QueryInteraction(8, 16, 1).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval(), torch.randn(2, 4, 16).double(), torch.randn(2, 4, 8).double()


@torch.no_grad()
def test_equals_the_formulas():
    module, queries, hidden = make()
    position, content = queries[0, :, :8], queries[0, :, 8:]
    weight, bias = module.self_attn.in_proj_weight, module.self_attn.in_proj_bias
    asked = position + hidden[0]
    q, k, v = (x @ w.T + b for x, w, b in zip((asked, asked, hidden[0]), weight.chunk(3), bias.chunk(3), strict=True))
    seen = module.self_attn.out_proj((q @ k.T / 8**0.5).softmax(-1) @ v)
    x = module.self_attn_norm(hidden[0] + seen)
    x = module.ffn.norm(x + module.ffn.linear2(module.ffn.linear1(x).relu()))
    updates = (module.position_update.layers, module.content_update.layers)
    norms = (module.position_norm, module.content_norm)
    halves = [
        norm(old + layers[1](layers[0](x).relu()))
        for old, layers, norm in zip((position, content), updates, norms, strict=True)
    ]
    torch.testing.assert_close(module(queries, hidden)[0], torch.cat(halves, -1))


def test_padding_and_order():
    module, queries, hidden = make()
    valid = torch.tensor([[True, True, True, False], [True, True, False, False]])
    result = module(queries, hidden, valid)
    assert result.isfinite().all()
    torch.testing.assert_close(result[:1, :3], module(queries[:1, :3], hidden[:1, :3]))
    torch.testing.assert_close(result[1:, :2], module(queries[1:, :2], hidden[1:, :2]))
    order = [3, 1, 0, 2]
    torch.testing.assert_close(module(queries[:, order], hidden[:, order]), module(queries, hidden)[:, order])
    assert module(queries[:, :0], hidden[:, :0]).shape == (2, 0, 16)


def test_every_parameter_has_gradient():
    module, queries, hidden = make()
    module(queries, hidden).square().sum().backward()
    assert [name for name, parameter in module.named_parameters() if not parameter.grad.any()] == []
