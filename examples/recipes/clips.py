"""Synthetic clips and a short training loop, shared by the recipes of this folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate

SIZE = (96, 160)
Objects = list[dict[str, Tensor]]
"""Objects of each frame: ``boxes (G, 4)`` as center and size in [0, 1], and ``track_ids (G,)``."""


def clips(frames: int, *, with_depth: bool = False) -> Iterator[tuple[Tensor, Objects]]:
    """Yield images ``(T, 3, H, W)`` of consecutive frames of one video, and the objects of each, without end.

    With ``with_depth``, objects have the depth map ``depth (1, H, W)`` of their frame.
    """
    video = SyntheticVideo(num_videos=100, num_frames=frames, image_size=SIZE, with_depth=with_depth)
    dataset = ClipDataset(video, ClipSampling(frames))
    index = 0
    while True:
        batch = collate([dataset[index % len(dataset)]])
        objects = [
            {
                "boxes": truth.boxes_cxcywh[0][truth.valid[0]],
                "track_ids": truth.ids[0][truth.valid[0]],
                **{name: values[0] for name, values in truth.extras.items()},
            }
            for truth in batch.targets or ()
        ]
        yield batch.images[0], objects
        index += 1


def small_backbone(strides: int, width: int = 32) -> nn.Sequential:
    """Return convolutions that halve the image ``strides`` times."""
    layers: list[nn.Module] = []
    for step in range(strides):
        layers += [nn.Conv2d(width if step else 3, width, 3, 2, 1), nn.GroupNorm(4, width), nn.ReLU()]
    return nn.Sequential(*layers)


def train(
    model: nn.Module,
    step: Callable[[Tensor, Objects], dict[str, Tensor]],
    frames: int,
    steps: int,
    *,
    with_depth: bool = False,
) -> list[dict[str, float]]:
    """Train with the sum of all losses that ``step`` returns for a clip, print them, and return those of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history: list[dict[str, float]] = []
    for images, objects in clips(frames, with_depth=with_depth):
        if len(history) == steps:
            break
        losses = step(images, objects)
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
        if len(history) % 20 == 1:
            print(f"step {len(history)}:", ", ".join(f"{name} {value:.3f}" for name, value in history[-1].items()))
    return history


def steps_from(arguments: Iterable[str] | None, description: str) -> int:
    """Return the number of steps of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=200, help="training steps (default: 200)")
    steps: int = parser.parse_args(None if arguments is None else [*arguments]).steps
    return steps
