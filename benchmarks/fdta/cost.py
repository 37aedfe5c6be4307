"""Time and memory of the FDTA adapters in MOTIP, at the sizes of the paper, on one thread.

    python -m benchmarks.fdta.cost frames steps      # about fifteen minutes on a CPU
    python -m benchmarks.fdta.cost frames --device cuda
    python -m benchmarks.fdta.cost frames --size 96 160 --rounds 5

Frames: MOTIP without and with adapters tracks the frames of one video in turn, so that all variants are measured side
by side in one process; histories are short, so the temporal adapter is also measured alone on 20 tracks of 30 frames,
and given as a share of the frame. Steps: losses, backward and optimizer of two frames, one of them with gradient, each
variant in a process of its own, with its peak memory; at half the height and width, because the dense attention of the
depth encoder takes more than 16 GB in training on a CPU at 800 x 1440 pixels. CPU seconds, or wall seconds on a GPU.
Writes ``results/fdta/cost.json``; a part that is not measured is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import median
from typing import Any

from benchmarks.clock import clock
from benchmarks.fresh_process import in_fresh_process, peak
from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance

RESULT = RESULTS_FOLDER / "fdta/cost.json"
PACKAGE = "packages/fdta-adapters/src"
OBJECTS = 20
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {},
    "spatial, stride 8": {"spatial": 8},
    "spatial, stride 16": {"spatial": 16},
    "temporal": {"temporal": True},
    "identity": {"identity": True},
    "all, stride 8": {"spatial": 8, "temporal": True, "identity": True},
}


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["frames", "steps"], help="frames, steps or both (default)")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1440), metavar=("H", "W"), help="size of frames")
    parser.add_argument("--rounds", type=int, default=3, help="frames per variant (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--here", help="measure in this process and print; used internally")
    options = parser.parse_args()
    if options.here:
        variant, size = json.loads(options.here)
        print(json.dumps(step(VARIANTS[variant], tuple(size))))
        return
    report: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    about = {**provenance(SOURCES, PACKAGE), "device": options.device, "threads": 1}
    if "frames" in options.parts:
        seconds = frames(tuple(options.size), options.rounds, options.device)
        _print("frame", seconds)
        full = full_history(options.device)
        print(f"temporal adapter on {OBJECTS} tracks of 30 frames: {full:.3f} s, {100 * full / seconds['none']:.1f} %")
        report["frames"] = {**about, "size": options.size, "seconds": seconds, "full_history_s": full}
        _write(report)
    if "steps" in options.parts:
        size = [options.size[0] // 2, options.size[1] // 2]
        rows = {name: in_fresh_process("benchmarks.fdta.cost", name, size, exact_memory=True) for name in VARIANTS}
        _print("step", {name: row["seconds"] for name, row in rows.items()})
        for name, row in rows.items():
            print(f"{name:<22} peak {row['peak_MB']} MB")
        report["steps"] = {**about, "size": size, "variants": rows}
        _write(report)


def _write(report: dict[str, Any]) -> None:
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


def _print(what: str, seconds: dict[str, float]) -> None:
    host = seconds["none"]
    for name, value in seconds.items():
        print(f"{what} {name:<22} {value:8.3f} s  {100 * (value - host) / host:+6.1f} % of MOTIP alone", flush=True)


def build(size: tuple[int, int], num_frames: int, *plugins: Any) -> Any:
    """Return MOTIP of the paper's size with random weights, in which the plug-ins are set up, and a video."""
    import torch

    from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    from mot_core.trackers import MOTIP, DetectorSettings

    torch.manual_seed(0)
    torch.set_num_threads(1)
    tracker = MOTIP(DetectorSettings(), detection_threshold=0.0, newborn_threshold=0.0)
    for plugin in plugins:
        tracker.attach(plugin)
    tracker.setup()
    video = SyntheticVideo(
        num_videos=1, num_frames=num_frames, image_size=size, num_objects=(OBJECTS, OBJECTS), with_depth=True
    )
    return tracker, collate([ClipDataset(video, ClipSampling(num_frames))[0]])


def frames(size: tuple[int, int], rounds: int, device: str) -> dict[str, float]:
    """Return the median seconds of a tracked frame by variant, measured in turn in one process."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    trackers = {}
    for name, parts in VARIANTS.items():
        tracker, batch = build(size, 1, *adapters(parts, tracking=True))
        trackers[name] = tracker.eval().to(device), batch.to(device)
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, (tracker, batch) in trackers.items():
                batch.times[:] = number + 1
                start = clock(device)
                tracker.track(batch)
                if number:  # the first frame warms up
                    times[name].append(clock(device) - start)
    return {name: round(median(values), 4) for name, values in times.items()}


def full_history(device: str) -> float:
    """Return the median seconds of the temporal adapter on full histories."""
    import torch

    from fdta_adapters import TemporalAdapter

    adapter = TemporalAdapter().eval().to(device)
    history = torch.randn(1, OBJECTS, 30, 256, device=device)
    missing = torch.zeros(1, OBJECTS, 30, dtype=torch.bool, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(6):
            start = clock(device)
            adapter(history, missing)
            seconds.append(clock(device) - start)
    return median(seconds[1:])


def adapters(parts: dict[str, Any], *, tracking: bool) -> list[Any]:
    """Return the plug-ins of a variant; the identity adapter is absent in tracking."""
    from fdta_adapters import IdentityAdapterPlugin, SpatialAdapterPlugin, TemporalAdapterPlugin

    chosen: list[Any] = []
    if "spatial" in parts:
        chosen.append(SpatialAdapterPlugin(encoder_stride=parts["spatial"]))
    if "temporal" in parts:
        chosen.append(TemporalAdapterPlugin())
    if "identity" in parts and not tracking:
        chosen.append(IdentityAdapterPlugin(start_epoch=0))
    return chosen


def step(parts: dict[str, Any], size: tuple[int, int]) -> dict[str, float]:
    """Return seconds and peak memory of a training step of two frames, one with gradient."""
    import torch

    tracker, batch = build(size, 2, *adapters(parts, tracking=False))
    tracker.gradient_frames = 1
    optimizer = torch.optim.AdamW(tracker.parameter_groups(), fused=True)
    start = time.process_time()
    losses, _ = tracker.losses(batch, step=0)
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    return {"seconds": round(time.process_time() - start, 2), "peak_MB": round(peak() / 2**20)}


if __name__ == "__main__":
    main()
