"""Launches of every kernel in every variant that trackers use, for the ahead-of-time compilation."""

from functools import partial

import torch

from mot_core.ops.fused import (
    deformable_attention,
    kalman,
    matching_cost,
    pair_bias_attention,
    pairwise_iou,
    sinkhorn,
    smoother,
)

PAPER = [(100, 180), (50, 90), (25, 45), (13, 23)]
SMALL = [(12, 20), (6, 10), (3, 5)]
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
NAMES = {HALF: "float16", BRAIN: "bfloat16", SINGLE: "float32", DOUBLE: "float64"}


def attend(dtype, shapes, channels, queries, softmax):
    value = torch.empty(1, sum(h * w for h, w in shapes), 8, channels, dtype=dtype)
    precise = torch.promote_types(dtype, SINGLE)
    locations = torch.empty(1, queries, 8, len(shapes), 4, 2, dtype=precise)
    inputs = value, [side for shape in shapes for side in shape], locations, locations[..., 0].to(dtype), softmax
    deformable_attention.backward(deformable_attention.forward(*inputs), *inputs)


def normalize(dtype, size, dustbin, masks):
    logits = torch.empty(32, size, size, dtype=dtype)
    score = torch.empty(32, dtype=torch.promote_types(dtype, SINGLE)) if dustbin else None
    mask = torch.empty(32, size, dtype=torch.bool) if masks else None
    inputs = logits, score, mask, mask, 20
    plan, *potentials = sinkhorn.forward(*inputs)
    sinkhorn.backward(plan, *potentials, *inputs)


def track(dtype, objects, size, masked):
    points, assoc = torch.empty(64, 10, objects, 2, dtype=dtype), torch.empty(64, 10, objects, objects, dtype=dtype)
    mask = torch.empty(64, 10, objects, dtype=torch.bool) if masked else None
    noise, variance = torch.empty(64, objects, dtype=dtype), torch.empty(64, objects, size, dtype=dtype)
    inputs = points, assoc, mask, points[:, 0], variance, noise, variance
    moments = kalman.forward(*inputs, 1.0, False)
    kalman.backward(*moments, *inputs[:3], variance, noise, *moments[2:], 1.0, False)
    results = smoother.forward(*moments, 1.0)
    smoother.backward(*results, *moments, *results, 1.0)


def associate(dtype, channels, tracklets, padded):
    joint = torch.empty(1, 300 + tracklets, 3, 8, channels, dtype=dtype)
    bias = torch.empty(1, 300, tracklets, 8, dtype=dtype)
    padding = torch.empty(1, 300 + tracklets, dtype=torch.bool) if padded else None
    inputs = *joint.unbind(2), bias, padding
    pair_bias_attention.backward(*pair_bias_attention.forward(*inputs), *inputs)


def match(dtype, classes):
    logits, boxes = torch.empty(1, 300, classes, dtype=dtype), torch.empty(1, 300, 4, dtype=dtype)
    labels, wanted = torch.empty(1, 60, dtype=torch.int64), torch.empty(1, 60, 4)
    matching_cost.forward(logits, boxes, labels, wanted, 2.0, 5.0, 2.0, 0.25, 2.0)


def overlap(dtype, size, giou, second):
    a, b = torch.empty(2, size, 4, dtype=dtype), torch.empty(2, 60, 4, dtype=dtype)
    if second:
        gradient = torch.empty(2, size, 60, dtype=dtype)
        pairwise_iou.backward(gradient.mT, b, a, giou)
    else:
        pairwise_iou.backward(pairwise_iou.forward(a, b, giou), a, b, giou)


VARIANTS = (
    {
        f"deformable_attention {NAMES[dtype]} {levels} levels x {channels} channels{' softmax' * softmax}": partial(
            attend, dtype, shapes, channels, queries, softmax
        )
        for dtype, shapes, levels, channels, queries, softmax in [
            (SINGLE, PAPER, 4, 32, 360, True),
            (SINGLE, PAPER, 4, 32, 360, False),
            (BRAIN, PAPER, 4, 32, 360, True),
            (HALF, PAPER, 4, 32, 360, True),
            (DOUBLE, PAPER, 4, 32, 360, True),
            (SINGLE, SMALL, 3, 8, 30, True),
            (SINGLE, PAPER, 4, 36, 360, True),
        ]
    }
    | {
        f"sinkhorn {NAMES[dtype]} {size}{' dustbin' * dustbin}{' masks' * masks}": partial(
            normalize, dtype, size, dustbin, masks
        )
        for dtype, size, dustbin, masks in [
            (SINGLE, 100, False, False),
            (SINGLE, 100, True, True),
            (SINGLE, 16, True, True),
            (BRAIN, 100, True, False),
            (DOUBLE, 64, False, True),
        ]
    }
    | {
        f"kalman_filter {NAMES[dtype]} {objects} objects x {size}{' masks' * masked}": partial(
            track, dtype, objects, size, masked
        )
        for dtype, objects, size, masked in [
            (SINGLE, 32, 2, True),
            (SINGLE, 100, 2, False),
            (SINGLE, 8, 1, False),
            (DOUBLE, 32, 2, False),
        ]
    }
    | {
        f"pair_bias_attention {NAMES[dtype]} {channels} channels x {tracklets} tracklets{' padding' * padded}": partial(
            associate, dtype, channels, tracklets, padded
        )
        for dtype, channels, tracklets, padded in [
            (SINGLE, 32, 20, False),
            (SINGLE, 32, 64, True),
            (BRAIN, 32, 20, True),
            (HALF, 32, 20, False),
            (DOUBLE, 32, 20, True),
            (SINGLE, 16, 20, True),
            (SINGLE, 64, 20, True),
        ]
    }
    | {f"matching_cost {NAMES[dtype]}": partial(match, dtype, classes) for dtype, classes in [(SINGLE, 1), (HALF, 91)]}
    | {
        f"pairwise_{'g' * giou}iou {NAMES[dtype]} {size}{' second' * second}": partial(
            overlap, dtype, size, giou, second
        )
        for dtype, size, giou, second in [
            (SINGLE, 300, False, False),
            (SINGLE, 300, True, False),
            (SINGLE, 300, True, True),
            (HALF, 300, True, False),
            (BRAIN, 300, True, False),
            (DOUBLE, 300, True, False),
            (SINGLE, 4096, True, False),
        ]
    }
)
