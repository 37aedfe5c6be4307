"""Time and memory of SGLA in LA-MOTR at the sizes of the paper, on one thread.

    python -m benchmarks.lamotr.cost                    # all parts; about ten minutes on a CPU
    python -m benchmarks.lamotr.cost frames --device cuda
    python -m benchmarks.lamotr.cost growth             # SGLA alone: objects and tracks

Frames: LA-MOTR with SGLA and without (a single decoder) track a frame with 20 tracks, in turn in one process. Steps:
losses, backward and optimizer of two frames with 20 objects at half the height and width, each variant in a process of
its own with its peak memory. Growth: forward and backward of SGLA alone for numbers of objects and tracks, each in a
process of its own. CPU seconds, or wall seconds on a GPU. Writes ``results/lamotr/cost.json``; a part that is not
measured is kept.
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

MODULE = "benchmarks.lamotr.cost"
RESULT = RESULTS_FOLDER / "lamotr/cost.json"
PACKAGE = "packages/lamotr/src"
TRACKS = 20
VARIANTS = {"single decoder": "none", "SGLA": "sgla"}
GROWTH = ((300, 0), (300, 10), (300, 50), (300, 200), (100, 50), (600, 50))  # objects, tracks


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["frames", "steps", "growth"], help="frames, steps, growth")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1440), metavar=("H", "W"), help="size of frames")
    parser.add_argument("--rounds", type=int, default=3, help="frames per variant (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--here", help="measure in this process and print; used internally")
    options = parser.parse_args(arguments)
    if options.here:
        what, *rest = json.loads(options.here)
        print(json.dumps(step(*rest) if what == "step" else alone(*rest)))
        return
    report: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    about = {**provenance(SOURCES, PACKAGE), "device": options.device, "threads": 1}
    if "frames" in options.parts:
        seconds = frames(tuple(options.size), options.rounds, options.device)
        _print("frame", seconds)
        report["frames"] = {**about, "size": options.size, "tracks": TRACKS, "seconds": seconds}
        _write(report)
    if "steps" in options.parts:
        size = [options.size[0] // 2, options.size[1] // 2]
        rows = {name: in_fresh_process(MODULE, "step", name, size, exact_memory=True) for name in VARIANTS}
        _print("step", {name: row["seconds"] for name, row in rows.items()})
        for name, row in rows.items():
            print(f"{name:<16} peak {row['peak_MB']} MB")
        report["steps"] = {**about, "size": size, "variants": rows}
        _write(report)
    if "growth" in options.parts:
        grown = [in_fresh_process(MODULE, "alone", *sizes, exact_memory=True) for sizes in GROWTH]
        for row in grown:
            print(", ".join(f"{name} {value}" for name, value in row.items()))
        report["growth"] = {**about, "rows": grown}
        _write(report)


def _write(report: dict[str, Any]) -> None:
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1) + "\n")


def _print(what: str, seconds: dict[str, float]) -> None:
    base = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"{what} {name:<16} {value:8.3f} s  {100 * (value - base) / base:+6.1f} %", flush=True)


def build(variant: str, size: tuple[int, int], num_frames: int, **small: Any) -> Any:
    """Return LA-MOTR of the paper's size, or of ``small``, with random weights, and a video of 20 objects."""
    import torch

    from lamotr.lightning import LAMOTR
    from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    from mot_core.trackers import DetectorSettings

    torch.manual_seed(0)
    torch.set_num_threads(1)
    detector = DetectorSettings(**small) if small else None
    # Untrained boxes hardly overlap the objects, but all of them are carried to the next frame.
    tracker = LAMOTR(detector, association=VARIANTS[variant], exclude="none", demote=False, detection_threshold=1.0)  # type: ignore[arg-type]
    tracker.setup()
    video = SyntheticVideo(num_videos=1, num_frames=num_frames, image_size=size, num_objects=(TRACKS, TRACKS))
    return tracker, collate([ClipDataset(video, ClipSampling(num_frames))[0]])


def frames(size: tuple[int, int], rounds: int, device: str, **small: Any) -> dict[str, float]:
    """Return the median seconds of a tracked frame with 20 tracks by variant, measured in turn in one process."""
    import torch

    from lamotr import Tracklets
    from mot_core.nn import inverse_sigmoid
    from mot_core.structures import TrackState

    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    trackers = {}
    for name in VARIANTS:
        tracker, batch = build(name, size, 1, **small)
        trackers[name] = tracker.eval().to(device), batch.to(device)
    channels = next(iter(trackers.values()))[0].detector.embed_dim
    ids = torch.arange(TRACKS, device=device)
    boxes, queries = torch.full((TRACKS, 4), 0.3, device=device), torch.randn(TRACKS, channels, device=device)
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, (tracker, batch) in trackers.items():
                batch.times[:] = number + 1
                tracker.track(batch) if not number else None  # starts the stream
                # The same tracks in every frame, although an untrained tracker would lose them.
                tracker._state = Tracklets(ids, queries, boxes, torch.zeros_like(ids), TRACKS)
                tracker._tracks = TrackState(
                    ids[None],
                    ids[None] >= 0,
                    boxes[None],
                    queries=queries[None],
                    ref_logits=inverse_sigmoid(boxes)[None],
                )
                batch.times[:] = number + 2
                start = clock(device)
                tracker.track(batch)
                if number:  # the first frame warms up
                    times[name].append(clock(device) - start)
    return {name: round(median(values), 4) for name, values in times.items()}


def step(variant: str, size: tuple[int, int], **small: Any) -> dict[str, float]:
    """Return seconds and peak memory of a training step of two frames with 20 objects."""
    import torch

    tracker, batch = build(variant, tuple(size), 2, **small)
    optimizer = torch.optim.AdamW(tracker.parameter_groups(), fused=True)
    start = time.process_time()
    losses, _ = tracker.losses(batch, step=0)
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    return {"seconds": round(time.process_time() - start, 2), "peak_MB": round(peak() / 2**20)}


def alone(objects: int, tracks: int, **settings: Any) -> dict[str, float]:
    """Return seconds of SGLA, forward and with backward, and the memory that they add, for a frame."""
    import torch

    from lamotr import SGLA, SGLASettings

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sgla = SGLA(SGLASettings(**settings))
    channels = sgla.settings.embed_dim
    given = [torch.randn(1, n, channels, requires_grad=True) for n in (objects, tracks)]
    given += [torch.rand(1, n, 4) for n in (objects, tracks)]
    before, forward, both = peak(), [], []
    for _ in range(4):
        start = time.process_time()
        output = sgla(*given)
        forward.append(time.process_time() - start)
        (output.score_logits.sum() + output.obj_embed.sum()).backward()
        both.append(time.process_time() - start)
    return {
        "objects": objects,
        "tracks": tracks,
        "forward_s": round(median(forward[1:]), 4),
        "with_backward_s": round(median(both[1:]), 4),
        "added_MB": round((peak() - before) / 2**20),
    }


if __name__ == "__main__":
    main()
