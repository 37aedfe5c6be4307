"""Sizes and random inputs of the Kalman filter and smoother kernels."""

import torch

F64 = torch.float64
# Windows, frames, objects, detections, coordinates, state size.
CASES = {
    "usual": (2, 4, 3, 4, 2, 2),
    "one-of-all": (1, 1, 1, 1, 1, 2),
    "random-walk": (1, 3, 2, 5, 3, 1),
    "several-blocks": (1, 3, 37, 35, 1, 2),
}


def make(windows, frames, objects, detections, coordinates, size, dtype=F64, device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=F64)

    inputs = [
        4 * uniform(windows, frames, detections, coordinates),
        uniform(windows, frames, objects, detections).softmax(2),
        4 * uniform(windows, objects, coordinates),
        0.1 + uniform(windows, objects, size),
        0.5 + uniform(windows, objects),
        1 + uniform(windows, objects, size),
    ]
    return [one.to(device, dtype) for one in inputs]
