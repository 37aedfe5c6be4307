"""Frames per second of the training loaders, and memory of their workers over 2,000 clips.

    python -m benchmarks.training.loader            measure (about 8 minutes) and write results/training/loader.json
    python -m benchmarks.training.loader --quick    a few clips, without a result file, as a smoke test

Needs the extra [train]; real frames are measured if ``MOT_DATA`` is set.

Speed: one process with one thread, clips in training order, from file (or rendering) to a normalized batch of one clip.
Memory: private pages of the worker, after 200 clips and at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance
from mot_core.data import Augmentation, ClipDataset, ClipLoader, ClipSampler, ClipSampling, FrameIndex, SyntheticVideo
from mot_core.data.decode import DecodeCache, pillow
from mot_core.data.folders import index_sequences
from mot_core.data.image_frame import FrameSource
from mot_core.io import find_sequences

MOTIP = Augmentation(
    short_sides=tuple(range(480, 801, 32)),
    max_long_side=1440,
    flip=0.5,
    crop=0.5,
    hue=0.2,
    saturation=0.4,
    brightness=0.4,
    contrast=0.4,
)
SETTLED = 200  # clips until caches and memory pools are full


def main() -> None:
    """Measure and write a result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure a few clips, write nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), 4 if quick else 60)
        speed = {}
        for name, (source, sampling, augmentation) in cases.items():
            speed[name] = measure_speed(ClipDataset(source, sampling, augmentation), seconds=1 if quick else 20)
            print(name, speed[name], flush=True)
        name = "PETS09-S2L1 x 50" if "PETS09-S2L1 x 50" in cases else "synthetic 96x160"
        source, sampling, augmentation = cases[name]
        memory = {"data": name} | measure_memory(ClipDataset(source, sampling, augmentation), 40 if quick else 2000)
        print(memory)
    if quick:
        return
    result = provenance(f"{SOURCES}/data") | {"torch": torch.__version__}
    path = RESULTS_FOLDER / "training/loader.json"
    path.write_text(json.dumps(result | {"speed": speed, "memory": memory}, indent=1) + "\n")
    print(path)


def make_cases(folder: Path, frames: int) -> dict[str, tuple[FrameSource, ClipSampling, Augmentation]]:
    """Return the measured data sets by name."""
    cases: dict[str, tuple[FrameSource, ClipSampling, Augmentation]] = {
        "synthetic 96x160": (SyntheticVideo(), ClipSampling(4, 2), Augmentation()),
        "synthetic 96x160, clips of 30": (SyntheticVideo(num_frames=40), ClipSampling(30), Augmentation()),
    }
    hd = index_sequences(find_sequences(full_hd(folder, frames), benchmark="generic"))
    cases["jpg 1080x1920, MOTIP"] = (hd, ClipSampling(4, 4), MOTIP)
    data = Path(os.environ.get("MOT_DATA", "/nowhere")) / "MOT15" / "train" / "PETS09-S2L1"
    if data.is_dir():
        pets = index_sequences(find_sequences(data))
        cases["PETS09-S2L1 360x480"] = (pets, ClipSampling(4, 4), Augmentation(flip=0.5))
        many = FrameIndex.concatenate([pets] * 50, DecodeCache(32 * 2**20))
        cases["PETS09-S2L1 x 50"] = (many, ClipSampling(4, 4), Augmentation(flip=0.5))
    return cases


def full_hd(folder: Path, frames: int) -> Path:
    """Write a sequence of synthetic full-HD JPEG frames."""
    sequence = SyntheticVideo(1, frames, (1080, 1920), (10, 10)).save(folder, 0)
    for path in sorted((sequence / "img1").glob("*.png")):
        pillow().open(path).save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    return sequence


def measure_speed(dataset: ClipDataset, seconds: float) -> dict[str, float]:
    """Return frames per second of one process, in wall time and CPU time."""
    clips = ClipLoader(dataset, ClipSampler(dataset))
    frames, begin, cpu = 0, time.perf_counter(), time.process_time()
    for batch in clips:
        frames += batch.num_frames
        if time.perf_counter() - begin > seconds:
            break
    return {
        "frames_per_second": round(frames / (time.perf_counter() - begin), 1),
        "frames_per_cpu_second": round(frames / (time.process_time() - cpu), 1),
        "frames": frames,
    }


def measure_memory(dataset: ClipDataset, clips: int, num_workers: int = 2) -> dict[str, Any]:
    """Return private memory of each worker in MB, after warm-up and after all clips."""
    loader = ClipLoader(dataset, ClipSampler(dataset), num_workers=num_workers)
    settled: list[float] = []
    for number, _ in zip(range(1, clips + 1), loader, strict=False):
        if number == min(SETTLED, clips // 2):
            settled = private_mb()
    end = private_mb()
    growth = [round(last - first, 1) for first, last in zip(settled, end, strict=True)]
    return {"clips": clips, "workers": num_workers, "settled_mb": settled, "end_mb": end, "growth_mb": growth}


def private_mb() -> list[float]:
    """Return the private memory of each child process."""
    values = []
    for child in sorted(multiprocessing.active_children(), key=lambda process: process.pid or 0):
        lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()
        values.append(round(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024, 1))
    return values


if __name__ == "__main__":
    main()
