"""Train the model that is part of the em-kalman package, on synthetic detections alone: no images, no data sets.

    python tools/train_em_kalman.py                  writes packages/em-kalman/src/em_kalman/models/ready.pt

Takes about two minutes on one core. The scenes are people who walk through streets, filmed by still, panning, zooming
and shaking cameras; groups of dancers, who turn, swap places and change their shape; and traffic, seen from a moving
car. The same seed gives the same model on the same machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from em_kalman import (
    DetectionSequence,
    NeuralKalmanFilter,
    Schedule,
    WindowSampler,
    fit,
    learn_weak_share,
    save_model,
)
from mot_core.io import BoxTable, make_scene

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "packages" / "em-kalman" / "src" / "em_kalman" / "models" / "ready.pt"
HEIGHT, WIDTH = SIZE = 1080, 1920
FRAMES = 200
MIN_SCORE = 0.6  # of the detections that training uses, the default of the tracker
STRIDE = 25  # frames between the starts of training windows
Floats = npt.NDArray[np.float64]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=MODEL, help="file to write")
    parser.add_argument("--scenes", type=int, default=12, help="number of streets; default: 12")
    parser.add_argument("--seed", type=int, default=0, help="seed of scenes, weights and order; default: 0")
    options = parser.parse_args(arguments)
    model = train(list(make_sequences(options.scenes, options.seed)), options.seed)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, options.output)
    print(f"wrote {options.output}, {options.output.stat().st_size / 1024:.0f} KiB")


def train(sequences: list[DetectionSequence], seed: int, schedule: Schedule | None = None) -> NeuralKalmanFilter:
    """Return a model trained on the strong detections of ``sequences``."""
    torch.manual_seed(seed)
    model = NeuralKalmanFilter(learn_noise=True)
    strong = [replace(one, table=one.table.select(one.table.scores >= MIN_SCORE)) for one in sequences]
    fit(model, WindowSampler(strong, stride=STRIDE), schedule, seed=seed)
    learn_weak_share(model, sequences, min_score=MIN_SCORE)
    return model


def make_sequences(count: int, seed: int) -> Iterator[DetectionSequence]:
    """Yield ``count`` streets, as many dances, and traffic for every third of them."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        yield _street(seed * count + number, rng)
        yield _observe(f"dance {number}", *_dance(rng), rng)
        if number % 3 == 0:
            yield _observe(f"traffic {number}", *_traffic(rng), rng)


def _street(seed: int, rng: np.random.Generator) -> DetectionSequence:
    """Walking people, seen by a camera that is still in a third of the scenes."""
    rate = float(rng.choice([14, 25, 30]))
    height = float(rng.uniform(2.5, 9))
    scene = make_scene(seed, int(rng.integers(8, 40)), FRAMES, SIZE, rate, camera_height=height, box_noise=0.008)
    table = scene.detections
    moved = table.boxes_xyxy
    if rng.random() < 2 / 3:
        shift, zoom = _camera(rng, rate)
        at = table.frames - 1
        center = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT]) / 2
        moved = (moved - center) * zoom[at, None] + center + np.tile(shift[at], 2)
    return _sequence(f"street {seed}", BoxTable(table.frames, table.ids, moved, table.scores))


def _camera(rng: np.random.Generator, rate: float) -> tuple[Floats, Floats]:
    """Return shifts ``(T, 2)`` in pixels and zooms ``(T,)`` of a moving camera."""
    pan = _smooth(rng, FRAMES, 2, rate * 1.5) * rng.uniform(0, 250, 1) / rate
    shake = _smooth(rng, FRAMES, 2, 2.0) * rng.uniform(0, 2)
    zoom = np.exp((_smooth(rng, FRAMES, 1, rate * 2)[:, 0] * rng.uniform(0, 0.1) / rate).cumsum())
    return pan.cumsum(0) + shake, zoom


def _dance(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return boxes ``(T, N, 4)`` and depth order ``(T, N)`` of people who dance in a group."""
    count, rate = int(rng.integers(4, 15)), 20.0
    size = rng.uniform(200, 450) * rng.uniform(0.85, 1.15, count)
    # Places in a formation, which is changed every few seconds.
    changes = np.sort(rng.integers(0, FRAMES, 3))
    places = rng.uniform([0.15 * WIDTH, 0.6 * HEIGHT], [0.85 * WIDTH, 0.95 * HEIGHT], (4, count, 2))
    target = places[np.searchsorted(changes, np.arange(FRAMES), side="right")]
    ground = np.empty_like(target)
    position, velocity, pull = target[0].copy(), np.zeros((count, 2)), rng.uniform(0.015, 0.045, (count, 1))
    for frame in range(FRAMES):
        velocity += pull**2 * 4 * (target[frame] - position) - 4 * pull * velocity
        position += velocity
        ground[frame] = position
    time = np.arange(FRAMES)[:, None] / rate
    beat = rng.uniform(0.2, 0.8)  # the group moves at one rhythm, each at a phase of their own

    def wave(low: float, high: float) -> Floats:
        phase = rng.uniform(0, 2 * np.pi, count) * rng.choice([0.1, 1])
        return np.asarray(rng.uniform(low, high, count) * np.sin(2 * np.pi * beat * time + phase))

    sway = (wave(0.02, 0.2) + 0.03 * _smooth(rng, FRAMES, count, 8)) * size
    tall = size * (1 - np.abs(wave(0, 0.15)))
    wide = size * (0.38 + np.abs(wave(0, 0.25)) + 0.02 * _smooth(rng, FRAMES, count, 5)).clip(0.25)
    x, bottom = ground[..., 0] + sway, ground[..., 1]
    return np.stack([x - wide / 2, bottom - tall, x + wide / 2, bottom], -1), bottom


def _traffic(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return boxes ``(T, N, 4)`` and depth order ``(T, N)`` of vehicles and people, seen from a car at 10 Hz."""
    count, rate, focal = int(rng.integers(6, 25)), 10.0, 1000.0
    side, far = rng.uniform(-15, 15, count), rng.uniform(6, 70, count)
    person = rng.random(count) < 0.3
    own = (8 + 6 * _smooth(rng, FRAMES, 1, 40)[:, 0]).clip(0)  # meters per second
    oncoming = np.where(person, 0, rng.choice([-1, 0, 1], count)) * rng.uniform(4, 14, count)
    across = np.where(person, rng.normal(0, 1.3, count), rng.normal(0, 0.2, count))
    turn = (focal * 0.15 * _smooth(rng, FRAMES, 1, 15)[:, 0] / rate).cumsum()  # pixels
    tall = np.where(person, rng.uniform(1.5, 1.9, count), rng.uniform(1.4, 2.5, count))
    wide = np.where(person, 0.7, rng.uniform(1.7, 3.5, count))
    boxes, depth = np.empty((FRAMES, count, 4)), np.empty((FRAMES, count))
    for frame in range(FRAMES):
        far += (oncoming - own[frame]) / rate
        side += across / rate
        again = (far < 4) | (far > 80)
        far[again], side[again] = rng.uniform(30, 75, again.sum()), rng.uniform(-15, 15, again.sum())
        pitch = rng.normal(0, 2)
        x, bottom = WIDTH / 2 + turn[frame] + focal * side / far, HEIGHT / 2 + pitch + focal * 1.6 / far
        half, top = focal * wide / far / 2, bottom - focal * tall / far
        boxes[frame], depth[frame] = np.stack([x - half, top, x + half, bottom], -1), -far
    return boxes, depth


def _observe(name: str, boxes: Floats, depth: Floats, rng: np.random.Generator) -> DetectionSequence:
    """Return what a detector finds of boxes ``(T, N, 4)``: the more is covered by others, the weaker and noisier."""
    frames, count = depth.shape
    error, score_error = _smooth(rng, frames, count * 4, 4).reshape(frames, count, 4), _smooth(rng, frames, count, 4)
    found, numbers, scores = [], [], []
    for frame, (true, front) in enumerate(zip(boxes, depth, strict=True)):
        low, high = np.maximum(true[:, None, :2], true[None, :, :2]), np.minimum(true[:, None, 2:], true[None, :, 2:])
        size = true[:, 2:] - true[:, :2]
        shared = (high - low).clip(0).prod(-1) / size.prod(-1)[:, None]
        shared[front[None] <= front[:, None]] = 0
        visible = (1 - shared).prod(1)
        quality = ((visible - 0.1) / 0.7).clip(0, 1)
        center = (true[:, :2] + true[:, 2:]) / 2
        inside = ((center > 0) & (center < [WIDTH, HEIGHT])).all(1)
        hit = inside & (rng.random(count) > 0.02 + 0.98 * (1 - quality) ** 3)
        noisy = true + (0.004 + 0.03 * (1 - quality))[:, None] * np.tile(size, 2) * error[frame]
        strength = 0.15 + 0.76 * quality + (0.04 + 0.08 * (1 - quality)) * score_error[frame]
        false = rng.poisson(0.03 * count)
        place, side = rng.uniform(0, [WIDTH, HEIGHT], (false, 2)), rng.uniform(30, 250, (false, 1)) * [0.5, 1]
        found += [noisy[hit], np.concatenate([place, place + side], 1)]
        scores += [strength[hit].clip(0.05, 0.99), 0.05 + 0.85 * rng.random(false) ** 2]
        numbers.append(np.full(hit.sum() + false, frame + 1))
    rows = np.concatenate(numbers)
    return _sequence(name, BoxTable(rows, np.full(len(rows), -1), np.concatenate(found), np.concatenate(scores)))


def _sequence(name: str, table: BoxTable) -> DetectionSequence:
    return DetectionSequence(name, table, range(1, FRAMES + 1), SIZE)


def _smooth(rng: np.random.Generator, frames: int, count: int, memory: float) -> Floats:
    """Return ``count`` random processes ``(T, count)`` of variance 1, correlated over about ``memory`` frames."""
    keep = np.exp(-1 / memory)
    noise = rng.standard_normal((frames, count))
    for frame in range(1, frames):
        noise[frame] = keep * noise[frame - 1] + (1 - keep**2) ** 0.5 * noise[frame]
    return noise


if __name__ == "__main__":
    main()
