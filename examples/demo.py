"""Track crowded synthetic scenes with every tracker: a table, pictures and a video, in under a minute on one core.

``nox -s demo`` runs it; ``python examples/demo.py --help`` tells what can be changed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from mot_core.association import ByteTrack, OCSort, Sort
from mot_core.evaluation import evaluate
from mot_core.io import ResultWriter, find_sequences, make_scene, read_mot
from mot_core.visualization import save_trajectories, save_video

TRACKERS = {"sort": Sort, "bytetrack": ByteTrack, "ocsort": OCSort}
SCENES = {"square": 12, "street": 25, "crowd": 45}  # people in view
SHOWN = "street"
METRICS = ("HOTA", "AssA", "MOTA", "IDF1", "IDSW", "FP", "FN")


def main(arguments: list[str] | None = None) -> None:
    """Make scenes, track them, score the tracks, draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, default=Path("demo-out"), help="folder for everything (default: demo-out)"
    )
    parser.add_argument("--frames", type=int, default=450, help="length of each scene (default: 450)")
    parser.add_argument("--seed", type=int, default=0, help="other scenes (default: 0)")
    options = parser.parse_args(arguments)
    console = Console()

    scenes = options.output / "scenes"
    for number, (name, people) in track(list(enumerate(SCENES.items())), "making scenes", console=console):
        scene = make_scene(seed=options.seed + number, num_objects=people, num_frames=options.frames)
        scene.save(scenes, name)
    sequences = find_sequences(scenes, benchmark="generic")

    table = Table(title="synthetic crowds, default parameters", caption="HOTA to IDF1 in percent; higher is better")
    table.add_column("tracker")
    for column in (*METRICS, "frames/s"):
        table.add_column(column, justify="right")
    for name, tracker_class in track(list(TRACKERS.items()), "tracking and scoring", console=console):
        seconds = 0.0
        for sequence in sequences:
            tracker, detections = tracker_class(frame_rate=sequence.frame_rate), sequence.detections()
            with ResultWriter(options.output / name / f"{sequence.name}.txt") as results:
                for frame in sequence.frame_numbers():
                    rows = detections.frame(frame)
                    start = time.perf_counter()
                    tracks = tracker.update(detections.boxes_xyxy[rows], detections.scores[rows])
                    seconds += time.perf_counter() - start
                    results.write(frame, tracks)
        scores = evaluate(options.output / name, scenes, benchmark="generic").combined
        numbers = [f"{scores[key]:.1f}" if isinstance(scores[key], float) else str(scores[key]) for key in METRICS]
        table.add_row(name, *numbers, f"{len(sequences) * options.frames / seconds:.0f}")

    shown = next(sequence for sequence in sequences if sequence.name == SHOWN)
    saved = []
    for name in track(list(TRACKERS), "drawing trajectories", console=console):
        tracks = read_mot(options.output / name / f"{SHOWN}.txt", kind="results")
        saved.append(save_trajectories(shown, tracks, options.output / f"{name}.png"))
    with console.status("drawing the video"):
        first = shown.window(1, min(150, options.frames))
        tracks = read_mot(options.output / "bytetrack" / f"{SHOWN}.txt", kind="results")
        saved.append(save_video(first, tracks, options.output / "bytetrack.mp4"))

    console.print(table)
    console.print(f"[bold]Pictures and video[/]: {', '.join(str(path) for path in saved)}")
    console.print(
        f"[bold]The same by hand[/]:\n  mot track {scenes} --benchmark generic --tracker bytetrack --output out"
    )
    console.print(f"  mot eval out --gt {scenes} --benchmark generic")


if __name__ == "__main__":
    main()
