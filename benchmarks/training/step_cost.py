"""Time and memory of a training step of every tracker, small and at the sizes of the papers, on one CPU thread.

    python -m benchmarks.training.step_cost                      # the small sizes
    python -m benchmarks.training.step_cost "motr, 1 frame" ...  # others, by name; see PAPERS

Every case runs in a separate process, and its peak resident memory is reported with the value before the first step.
Writes ``results/training/step_cost.json``; rows of other cases are kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from inspect import signature
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.fresh_process import in_fresh_process, peak
from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance
from mot_core.association.registry import trainable_trackers

if TYPE_CHECKING:
    from mot_core.structures import ClipBatch
    from mot_core.trackers import Tracker

TRACKERS = tuple(trainable_trackers())
# Frames in the clip, (height, width), and objects in a frame.
SMALL, PAPER = {"frames": 4, "size": (96, 160), "objects": 5}, {"size": (800, 1440), "objects": 20}
CASES: dict[str, dict[str, Any]] = {
    f"{tracker}, small{', checkpointing' * checkpointing}": {
        "tracker": tracker, "checkpointing": checkpointing, "steps": 20, **SMALL
    }
    for tracker in TRACKERS
    for checkpointing in (False, True)[: 1 + ("checkpointing" in signature(trainable_trackers()[tracker]).parameters)]
}  # fmt: skip
PAPERS: dict[str, dict[str, Any]] = {
    "motip, 30 frames, 4 with gradient, checkpointing": {
        "tracker": "motip", "checkpointing": True, "steps": 1, "frames": 30, **PAPER
    },
    "motip, 8 frames, 4 with gradient, checkpointing": {
        "tracker": "motip", "checkpointing": True, "steps": 1, "frames": 8, **PAPER
    },
    "motip, 1 frame": {"tracker": "motip", "checkpointing": False, "steps": 1, "frames": 1, **PAPER},
    "motr, 5 frames, checkpointing": {"tracker": "motr", "checkpointing": True, "steps": 1, "frames": 5, **PAPER},
    "motr, 2 frames, checkpointing": {"tracker": "motr", "checkpointing": True, "steps": 1, "frames": 2, **PAPER},
    "motr, 1 frame": {"tracker": "motr", "checkpointing": False, "steps": 1, "frames": 1, **PAPER},
    "yolox_bytetrack, 1 frame": {
        "tracker": "yolox_bytetrack", "checkpointing": False, "steps": 1, "frames": 1, **PAPER
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help="cases by name; default: the small ones")
    parser.add_argument("--limit", type=float, default=600, help="time limit of a case in seconds")
    parser.add_argument("--here", help="measure in this process and print; used internally")
    arguments = parser.parse_args()
    if arguments.here:
        (case,) = json.loads(arguments.here)
        print(json.dumps(measure(**(CASES | PAPERS)[case])))
        return
    report = {**provenance(f"{SOURCES}/trackers", f"{SOURCES}/nn"), "threads": 1, "results": []}
    path = RESULTS_FOLDER / "training/step_cost.json"
    rows = {row["case"]: row for row in (json.loads(path.read_text())["results"] if path.is_file() else [])}
    for case in arguments.cases:
        rows[case] = in_a_process(case, arguments.limit) | {key: report[key] for key in ("date", "commit")}
        report["results"] = list(rows.values())
        path.write_text(json.dumps(report, indent=1) + "\n")


def in_a_process(case: str, limit: float) -> dict[str, Any]:
    row: dict[str, Any] = {"case": case}
    try:
        row |= in_fresh_process("benchmarks.training.step_cost", case, exact_memory=True, limit=limit)
    except subprocess.TimeoutExpired:
        row["failed"] = f"not done after {limit:.0f} s"
    except RuntimeError as error:
        row["failed"] = str(error).splitlines()[-1]
    print(row, flush=True)
    return row


def measure(
    tracker: str, checkpointing: bool, steps: int, frames: int, size: tuple[int, int], objects: int
) -> dict[str, Any]:
    """Return median CPU and wall seconds of a step (losses, backward, optimizer), and its memory."""
    import torch

    from mot_core.trackers.memory import estimate_memory

    torch.set_num_threads(1)
    model, batch = build(tracker, size, frames, objects, checkpointing=checkpointing)
    optimizer = torch.optim.AdamW(model.parameter_groups(), fused=True)
    base = peak()
    cpu: list[float] = []
    wall: list[float] = []
    for step in range(steps):
        start = time.process_time(), time.perf_counter()
        losses, _ = model.losses(batch, step=step)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return {
        "frames": frames,
        "image_size": list(size),
        "checkpointing": checkpointing,
        "steps": steps,
        "parameters_M": round(sum(one.numel() for one in model.parameters()) / 1e6, 2),
        "cpu_s_per_step": round(median(cpu), 3),
        "wall_s_per_step": round(median(wall), 3),
        "peak_MB": round(peak() / 2**20),
        "peak_before_MB": round(base / 2**20),
        "estimate_MB": round(estimate_memory(model, size, frames).total / 2**20),
    }


def build(tracker: str, size: tuple[int, int], frames: int, objects: int, **settings: Any) -> tuple[Tracker, ClipBatch]:
    """Return a tracker with random weights, small for small images and of the paper's size otherwise, and a clip."""
    import torch

    from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    from mot_core.trackers import CenterNetSettings, DetectorSettings, FairMOTSettings, YOLOXSettings

    torch.manual_seed(0)
    small = size == SMALL["size"]
    detector: Any = DetectorSettings()
    if tracker == "yolox_bytetrack":
        detector = YOLOXSettings("micro", norm="group") if small else YOLOXSettings()
    elif tracker == "fairmot":
        few_channels = FairMOTSettings("micro", embed_dim=32, hidden=32, deformable=False, norm="group")
        detector = few_channels if small else FairMOTSettings()
    elif tracker == "gtr":
        few = CenterNetSettings("micro", channels=32, norm="group", extra_levels=0, head_depth=2)
        detector = few if small else CenterNetSettings()
    elif small:
        detector = DetectorSettings(
            "small", num_queries=30, embed_dim=64, ffn_dim=128, num_levels=3, num_encoder_layers=1, num_decoder_layers=2
        )
    video = SyntheticVideo(num_videos=1, num_frames=frames, image_size=size, num_objects=(objects, objects))
    cls = trainable_trackers()[tracker]
    model = cls(detector, **{name: value for name, value in settings.items() if name in signature(cls).parameters})
    return model, collate([ClipDataset(video, ClipSampling(frames))[0]])


if __name__ == "__main__":
    main()
