"""Memory and speed of ``mot track`` and ``mot eval`` on 1,000, 10,000 and 20,000 frames.

    python -m benchmarks.robustness.long_video                # about ten minutes
    python -m benchmarks.robustness.long_video --frames 500 --trackers sort motip

Detections, ground truth and images are made here; the frames of a long video repeat those of a short one. Every command
runs in a process of its own, whose time and peak memory are measured: a further frame should cost as much in the second
half of the long video as in the first. Writes ``results/robustness/long_video.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.provenance import RESULTS_FOLDER, SOURCES, provenance
from mot_core.data import SyntheticVideo
from mot_core.io import BoxTable, make_scene, write_mot
from mot_core.io.atomic import save_atomic
from mot_core.io.seqinfo import SeqInfo, write_seqinfo
from mot_core.trackers import MOTIP, MOTR, DetectorSettings
from mot_core.trackers.checkpoint import describe

RESULT = RESULTS_FOLDER / "robustness/long_video.json"
ONLINE = ("sort", "bytetrack", "ocsort")
TRAINED = {"motip": MOTIP, "motr": MOTR}
EAGER = {
    "motip": ["--detection-threshold", "0.005", "--newborn-threshold", "0.005"],
    "motr": ["--birth-threshold", "0.005", "--keep-threshold", "0.005", "--report-threshold", "0.005"],
}
"""Thresholds with which an untrained tracker reports tracks."""
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
sys.exit(code)
"""
"""A small process in between: the peak memory of a process is at least that of the one that starts it."""


def main() -> int:
    """Measure, print a table and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000, help="frames of the long video (default: %(default)s)")
    parser.add_argument("--trackers", nargs="+", default=[*ONLINE, *TRAINED], choices=[*ONLINE, *TRAINED])
    arguments = parser.parse_args()
    lengths = [max(arguments.frames // part, 1) for part in (20, 2, 1)]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for frames in lengths:
            make_detections(root / f"detections-{frames}", frames)
            make_images(root / f"images-{frames}", frames)
        for name in arguments.trackers:
            rows[f"track {name}"] = [track(root, name, frames) for frames in lengths]
        rows["eval"] = [score(root, frames) for frames in lengths]
    Console().print(_table(rows, lengths))
    report = {**provenance(SOURCES), "frames": lengths, "commands": rows}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def make_detections(root: Path, frames: int) -> None:
    """Write a sequence of 20 people, repeated after 500 frames under new identities."""
    scene = make_scene(num_objects=20, num_frames=min(frames, 500))
    scene.save(root, "street")
    repeats = -(-frames // scene.num_frames)
    for table, name in ((scene.detections, "det/det.txt"), (scene.ground_truth, "gt/gt.txt")):
        parts = []
        for repeat in range(repeats):
            ids = table.ids if name.startswith("det") else table.ids + 1000 * repeat
            parts.append(
                BoxTable(
                    table.frames + repeat * scene.num_frames, ids, table.boxes_xyxy, table.scores, table.classes,
                    table.visibility,
                )
            )  # fmt: skip
        whole = BoxTable.concatenate(parts)
        kind = "detections" if name.startswith("det") else "ground_truth"
        write_mot(root / "street" / name, whole.select(whole.frames <= frames), kind=kind)
    info = SeqInfo(name="street", frame_rate=30, length=frames, image_size=scene.image_size)
    write_seqinfo(root / "street" / "seqinfo.ini", info)


def make_images(root: Path, frames: int) -> None:
    """Write a folder of small images; the files of a short video are linked again and again."""
    video = SyntheticVideo(num_videos=1, num_frames=20, image_size=(48, 80))
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        files = sorted((video.save(folder, 0) / "img1").iterdir())
        root.mkdir()
        for number in range(frames):
            source = files[number % len(files)]
            os.link(source, root / f"{number + 1:06d}{source.suffix}")


def track(root: Path, name: str, frames: int) -> dict[str, float]:
    """Measure ``mot track``."""
    output = root / f"out-{name}-{frames}"
    command = ["track", "--output", str(output)]
    if name in TRAINED:
        torch.manual_seed(0)
        detector = DetectorSettings(
            backbone="small", num_queries=16, embed_dim=32, num_heads=2, num_encoder_layers=1, num_decoder_layers=1,
            ffn_dim=32, num_levels=3, num_points=2,
        )  # fmt: skip
        tracker = TRAINED[name](detector=detector, min_area=4)
        save_atomic({"state_dict": tracker.state_dict(), "tracker": describe(tracker)}, root / f"{name}.ckpt")
        command += [str(root / f"images-{frames}"), "--tracker", name, "--checkpoint"]
        command += [str(root / f"{name}.ckpt"), *EAGER[name]]
    else:
        command += [str(root / f"detections-{frames}"), "--tracker", name, "--benchmark", "generic"]
    measured = run(command)
    if name == "bytetrack":
        shutil.copytree(output, root / f"results-{frames}")
    return measured


def score(root: Path, frames: int) -> dict[str, float]:
    """Measure ``mot eval`` of ByteTrack's tracks, or of the ground truth if it did not run."""
    results = root / f"results-{frames}"
    if not results.is_dir():
        results.mkdir()
        shutil.copy(root / f"detections-{frames}/street/gt/gt.txt", results / "street.txt")
    command = ["eval", str(results), "--gt", str(root / f"detections-{frames}"), "--benchmark", "generic"]
    return run(command)


def run(arguments: list[str]) -> dict[str, float]:
    """Return seconds and peak memory in MiB of a command."""
    code = "import sys; from mot_core.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURE, sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"mot {' '.join(arguments)} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    seconds, peak = json.loads(done.stdout)
    return {"seconds": round(seconds, 2), "peak_mib": round(peak / 1024, 1)}


def _table(rows: dict[str, list[dict[str, float]]], lengths: list[int]) -> Table:
    table = Table(title=f"{', '.join(f'{length:,}' for length in lengths)} frames", title_justify="left")
    table.add_column("mot")
    for column in ("seconds", "ms per further frame", "peak MiB"):
        table.add_column(column, justify="right")
    for name, parts in rows.items():
        steps = list(zip(parts, parts[1:], lengths, lengths[1:], strict=False))
        further = [1000 * (b["seconds"] - a["seconds"]) / (m - n) for a, b, n, m in steps]
        seconds = " / ".join(f"{part['seconds']:.1f}" for part in parts)
        peak = " / ".join(f"{part['peak_mib']:.0f}" for part in parts)
        table.add_row(name, seconds, " / ".join(f"{one:.3f}" for one in further), peak)
    return table


if __name__ == "__main__":
    sys.exit(main())
