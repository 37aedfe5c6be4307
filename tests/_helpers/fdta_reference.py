"""Slow references of the adapters of FDTA: loops over pixels, boxes, frames and pairs, in float64."""

import math

import torch
from torch import nn


def bin_edges(bins, d_min, d_max):
    """Return the edges of bins of linearly increasing width, by adding up the widths."""
    first = 2 * (d_max - d_min) / (bins * (bins + 1))
    edges = [d_min]
    for k in range(bins):
        edges.append(edges[-1] + first * (k + 1))
    return edges


def find_bin(depth, edges):
    """Return the bin of a depth by search; the number of bins if out of range."""
    for k in range(len(edges) - 1):
        if edges[k] <= depth < edges[k + 1]:
            return k
    return len(edges) - 1


def foreground(boxes, valid, height, width):
    """Return the mask of cells that touch a box, cell by cell."""
    mask = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for image in range(len(boxes)):
        for box, real in zip(boxes[image].tolist(), valid[image].tolist(), strict=True):
            if not real:
                continue
            left, top, right, bottom = math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])
            for y in range(height):
                for x in range(width):
                    if left <= x < right and top <= y < bottom:
                        mask[image, y, x] = True
    return mask


def depth_loss(logits, target, mask, valid, weight, alpha=0.25, gamma=2.0):
    """Return the mean weighted focal loss, pixel by pixel."""
    total, count = 0.0, 0
    for b, y, x in valid.nonzero().tolist():
        p = logits[b, :, y, x].double().softmax(0)[target[b, y, x]]
        total = total - (weight if mask[b, y, x] else 1.0) * alpha * (1 - p) ** gamma * p.log()
        count += 1
    return total / max(count, 1)


def contrastive(z, ids, quality, tau=0.1, min_quality=0.5, harmonic=True, reduction="pair", source=None):
    """Return the contrastive loss by a loop over ordered pairs; ``source`` has a clip and a video per row."""
    kept = [i for i in range(len(ids)) if quality[i] >= min_quality and ids[i] >= 0]
    z = z / z.norm(dim=1, keepdim=True)
    terms = {}

    def comparable(a, b):
        return source is None or source[a][0] == source[b][0] or source[a][1] != source[b][1]

    for a in kept:
        for b in kept:
            if a == b or ids[a] != ids[b] or not comparable(a, b):
                continue
            exps = [(z[a] @ z[n] / tau).exp() for n in kept if ids[n] != ids[a] and comparable(a, n)]
            positive = (z[a] @ z[b] / tau).exp()
            weight = 2 * quality[a] * quality[b] / (quality[a] + quality[b]) if harmonic else 1.0
            terms.setdefault(a, []).append(-weight * (positive / (positive + sum(exps))).log())
    if not terms:
        return 0 * z.sum()
    if reduction == "pair":
        pairs = [term for row in terms.values() for term in row]
        return sum(pairs) / len(pairs)
    return sum(sum(row) / len(row) for row in terms.values()) / len(terms)


def attend(attention, queries, keys, values, allowed):
    """Apply a multi-head attention to one sequence by loops over queries and heads; ``allowed[j]`` lists keys."""
    width, heads = attention.embed_dim, attention.num_heads
    size = width // heads
    w, bias = attention.in_proj_weight, attention.in_proj_bias
    q, k, v = (x @ w[i * width : (i + 1) * width].t() + bias[i * width : (i + 1) * width]
               for i, x in enumerate((queries, keys, values)))  # fmt: skip
    rows = []
    for j in range(len(q)):
        parts = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([q[j, part] @ k[index, part] / size**0.5 for index in allowed[j]])
            weights = scores.softmax(0)
            parts.append(sum(weight * v[index, part] for weight, index in zip(weights, allowed[j], strict=True)))
        rows.append(torch.cat(parts))
    return torch.stack(rows) @ attention.out_proj.weight.t() + attention.out_proj.bias


def encoder_layer(layer, x, positions, allowed):
    """Apply a post-norm encoder layer to one sequence."""
    asked = x + positions
    x = layer.norm1(x + attend(layer.self_attn, asked, asked, x, allowed))
    return layer.norm2(x + layer.linear2(torch.relu(layer.linear1(x))))


def temporal(adapter, x, missing):
    """Apply a temporal adapter to each track ``(n, T, C)`` in a loop."""
    tracks = []
    for track, absent in zip(x, missing.tolist(), strict=True):
        frames, width = track.shape
        positions = torch.zeros(frames, width, dtype=torch.float64)
        for t in range(frames):
            for i in range(0, width, 2):
                angle = (t + 1) / 10_000 ** (i / width)
                positions[t, i], positions[t, i + 1] = math.sin(angle), math.cos(angle)
        allowed = [[k for k in range(frames) if k == j or (k < j and not absent[k])] for j in range(frames)]
        for layer in adapter.layers:
            track = encoder_layer(layer, track, positions, allowed)
        tracks.append(track)
    return torch.stack(tracks)


def randomize(module, seed=0, scale=0.4):
    """Fill all parameters at random, gates and biases too, so that nothing starts as the identity."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=scale, generator=generator)
    return module
