"""Slow reference of SGLA in float64: loops over pairs and heads, straight from the formulas of the paper."""

import math

import torch


def attention(query, key, value, bias, padding=None):
    """One batch element: ``(N, H, D)`` three times, ``(M, K, H)`` and ``(N,)``; returns the full weights too."""
    tokens, heads, channels = query.shape
    objects, tracklets = bias.shape[:2]
    padding = [False] * tokens if padding is None else padding.tolist()
    result = torch.zeros(tokens, heads, channels, dtype=torch.float64)
    weights = torch.zeros(heads, tokens, tokens, dtype=torch.float64)
    for head in range(heads):
        for row in range(tokens):
            if padding[row]:
                continue
            logits = {}
            for column in range(tokens):
                if padding[column]:
                    continue
                logit = sum(query[row, head, c] * key[column, head, c] for c in range(channels)) / math.sqrt(channels)
                if row < objects <= column:
                    logit = logit + bias[row, column - objects, head]
                if column < objects <= row:
                    logit = logit + bias[column, row - objects, head]
                logits[column] = logit
            total = sum(torch.exp(logit) for logit in logits.values())
            for column, logit in logits.items():
                weights[head, row, column] = torch.exp(logit) / total
                result[row, head] += weights[head, row, column] * value[column, head]
    forth = torch.zeros(objects, tracklets, heads, dtype=torch.float64)
    back = torch.zeros_like(forth)
    for head in range(heads):
        for i in range(objects):
            for j in range(tracklets):
                forth[i, j, head] = weights[head, i, objects + j]
                back[i, j, head] = weights[head, objects + j, i]
    return result.flatten(1), forth, back, weights


def norm(x, module):
    if isinstance(module, torch.nn.Identity):
        return x
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + module.eps).sqrt() * module.weight + module.bias


def perceptron(x, module):
    first, second = module.layers
    return (x @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias


def associate(sgla, objects, tracklets, obj_ref, tck_ref, box_head=None):
    """SGLA of one unpadded batch element, concatenated attention with default reading; returns logits and tokens."""
    settings = sgla.settings
    tokens, refs = torch.cat([objects, tracklets]), torch.cat([obj_ref, tck_ref])
    count, other, channels = len(objects), len(tracklets), settings.embed_dim
    edges = torch.zeros(count, other, channels, dtype=torch.float64)
    for index, layer in enumerate(sgla.layers):
        boxes = refs
        if box_head is not None:
            clamped = refs.clamp(1e-5, 1 - 1e-5)
            boxes = torch.sigmoid(box_head(tokens) + torch.log(clamped / (1 - clamped)))
        cued = edges.clone()
        for i in range(count):
            for j in range(other):
                cued[i, j] += perceptron(boxes[i] - boxes[count + j], sgla.encodings[index].mlp)
        normed = norm(tokens, layer.norm)
        projected = normed @ layer.qkv.weight.T + layer.qkv.bias
        q, k, v = (part.reshape(len(tokens), settings.num_heads, -1) for part in projected.split(channels, 1))
        bias = cued @ layer.bias.weight.T + layer.bias.bias
        attended, forth, back, _ = attention(q, k, v, bias)
        tokens = tokens + attended
        if layer.feed_forward is not None:
            first, second = layer.feed_forward[1], layer.feed_forward[3]
            hidden = (norm(tokens, layer.feed_forward[0]) @ first.weight.T + first.bias).clamp(min=0)
            tokens = tokens + hidden @ second.weight.T + second.bias
        edges = cued + (forth + back) / 2 @ layer.update.weight.T + layer.update.bias
    return perceptron(edges, sgla.head.mlp)[..., 0], tokens
