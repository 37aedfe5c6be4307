"""Train the small MOTIP on synthetic video and test it on unseen videos: about seven minutes on one core.

``nox -s demo_train`` runs it. After Ctrl-C, the same command resumes. ``python examples/demo_train.py --help`` lists
the options.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mot_core.association import ByteTrack
from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes
from mot_core.cli import main as mot
from mot_core.data import SyntheticDataModule, SyntheticVideo
from mot_core.evaluation import evaluate
from mot_core.io import ResultWriter, find_sequences, read_mot
from mot_core.structures import ClipBatch
from mot_core.trackers import Tracker
from mot_core.visualization import save_sheet, save_video

STEPS = 1920  # as in motip_synthetic
SCENE = {"num_frames": 30, "frame_step": 8}  # as in motip_synthetic
TRACKERS = ("MOTIP", "ByteTrack")
METRICS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")
EXPECTATION = (
    f"[bold]What to expect[/]: {STEPS} steps of twelve frames of 96 x 160 pixels on synthetic video, from random "
    "weights. After a minute, the detector finds three of four objects, with some false detections. Association is "
    "learned later, and scores rise most when the learning rate falls. MOTIP then reaches an IDF1 of about 80, and "
    "ByteTrack about 50 on the same detections, because objects move too far between frames for motion alone. Results "
    "vary by a few points between seeds (docs/results.md). They do not predict results on real video."
)


def main(arguments: list[str] | None = None) -> None:
    """Train, track unseen videos, and score and draw the tracks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path("demo-out/train"), help="output folder (default: demo-out/train)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps (default: {STEPS})")
    parser.add_argument("--videos", type=int, default=10, help="number of test videos (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, videos and training (default: 0)")
    options = parser.parse_args(arguments)
    console = Console()
    console.print(EXPECTATION)
    torch.set_num_threads(1)

    start = time.perf_counter()
    tracker = train(options.output / "training", options.steps, options.seed)
    console.print(
        f"[bold]Trained[/] in {(time.perf_counter() - start) / 60:.1f} minutes; tracking {options.videos} unseen videos"
    )
    videos = options.output / "videos"
    source = SyntheticVideo(options.videos, split="test", seed=options.seed, **SCENE)
    sequences = [
        find_sequences(source.save(videos, number), benchmark="generic")[0] for number in range(options.videos)
    ]
    data = SyntheticDataModule(num_val_videos=options.videos, seed=options.seed, **SCENE)
    frames = track(data.test_dataloader(), "tracking", console=console)
    for name, batches in groupby(frames, lambda batch: batch.sequences[0]):
        follow(tracker, batches, options.output, name)

    table = Table(title="unseen videos, identical detections", caption="HOTA to IDF1 in percent; higher is better")
    table.add_column("tracker")
    for column in METRICS:
        table.add_column(column, justify="right")
    for name in TRACKERS:
        scores = evaluate(options.output / name, videos, benchmark="generic").combined
        table.add_row(
            name, *(f"{scores[key]:.1f}" if isinstance(scores[key], float) else str(scores[key]) for key in METRICS)
        )
    shown = sequences[0]
    tracks = {name: read_mot(options.output / name / f"{shown.name}.txt", kind="results") for name in TRACKERS}
    saved = [save_video(shown, tracks[name], options.output / f"{name}.mp4") for name in TRACKERS]
    saved.append(save_sheet(shown, tracks["MOTIP"], options.output / "MOTIP.png", columns=2, rows=2))
    console.print(table)
    console.print(f"[bold]Pictures and videos[/]: {', '.join(str(path) for path in saved)}")
    console.print(f"[bold]Train it yourself[/]: mot fit --config motip_synthetic --trainer.max_steps {options.steps}")


def train(folder: Path, steps: int, seed: int) -> Tracker:
    """Run ``mot fit``, from the last checkpoint in the folder if there is one, and return the tracker."""
    command = ["fit", "--config", "motip_synthetic", "--seed_everything", str(seed), "--data.init_args.seed", str(seed)]
    command += ["--trainer.max_steps", str(steps), "--output", str(folder)]
    if any(folder.glob("version_*/checkpoints/last.ckpt")):
        command += ["--ckpt_path", "last"]
    if code := mot(command):
        sys.exit(code)
    checkpoints = folder.glob("version_*/checkpoints/last.ckpt")
    return Tracker.from_checkpoint(max(checkpoints, key=lambda path: path.stat().st_mtime))


@torch.no_grad()
def follow(tracker: Tracker, batches: Iterable[ClipBatch], output: Path, name: str) -> None:
    """Track a video with MOTIP, and with ByteTrack on the detections of the same detector."""
    # A detector trained for minutes has lower scores than the default thresholds expect.
    bytetrack = ByteTrack(track_threshold=0.4, birth_threshold=0.5)
    with (
        ResultWriter(output / "MOTIP" / f"{name}.txt") as ours,
        ResultWriter(output / "ByteTrack" / f"{name}.txt") as theirs,
    ):
        for batch in batches:
            frame = int(batch.times[0, 0])
            ours.write(frame, tracker.track(batch))
            found = tracker.detector(batch.images[:, 0], batch.padding)
            boxes = denormalize_boxes(cxcywh_to_xyxy(found.boxes_cxcywh[-1, 0]), batch.original_size[0])
            theirs.write(frame, bytetrack.update(boxes, found.logits[-1, 0].sigmoid().amax(-1)))


if __name__ == "__main__":
    main()
