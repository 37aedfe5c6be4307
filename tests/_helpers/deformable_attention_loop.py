"""Deformable attention as a plain loop, and random inputs for it."""

import math

import torch


def make(batch, queries, heads, channels, shapes, points, dtype=torch.float64, spread=1.6):
    """Random inputs; with a spread above 1 some points lie outside the map on every side."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*size):
        return torch.rand(*size, generator=generator, dtype=torch.float64)

    value = uniform(batch, sum(h * w for h, w in shapes), heads, channels) - 0.5
    locations = (uniform(batch, queries, heads, len(shapes), points, 2) - 0.5) * spread + 0.5
    weights = uniform(batch, queries, heads, len(shapes), points)
    return value.to(dtype), shapes, locations.to(dtype), weights.to(dtype)


def loop(value, shapes, locations, weights):
    """Compute the definition one corner at a time."""
    batch, queries, heads, levels, points, _ = locations.shape
    result = torch.zeros(batch, queries, heads, value.shape[-1], dtype=value.dtype)
    for b, q, m, level, k in torch.cartesian_prod(
        *(torch.arange(n) for n in (batch, queries, heads, levels, points))
    ).tolist():
        height, width = shapes[level]
        start = sum(h * w for h, w in shapes[:level])
        x = locations[b, q, m, level, k, 0].item() * width - 0.5
        y = locations[b, q, m, level, k, 1].item() * height - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(x - column)) * (1 - abs(y - row)) * weights[b, q, m, level, k]
                    result[b, q, m] += share * value[b, start + row * width + column, m]
    return result.flatten(2)
