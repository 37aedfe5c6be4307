"""Where overlap fails and learning helps: a crowd at three frames per second, in under a minute on one core.

At this rate people walk past each other between two frames and hide behind each other, so that the box with the largest
overlap often belongs to someone else. EM-Kalman learns its association here, from the detections of the scenes without
labels. It has two rows in the table: before and after training. With ``--frame-rate 30``, overlap is sufficient.

``nox -s demo`` runs it; ``python examples/demo.py --help`` lists the options.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from em_kalman import EMKalmanTracker, NeuralKalmanFilter, Schedule, WindowSampler, fit, read_detections
from em_kalman.motion.noise import confident_trajectories, learn_noise
from mot_core.association import ByteTrack, OCSort, OnlineTracker, Sort
from mot_core.evaluation import evaluate
from mot_core.io import ResultWriter, find_sequences, make_scene, read_mot
from mot_core.visualization import save_trajectories, save_video

TRACKERS: dict[str, Callable[..., OnlineTracker]] = {"sort": Sort, "bytetrack": ByteTrack, "ocsort": OCSort}
SCENES = {"square": 8, "street": 14, "crowd": 22}  # number of people in view
CAMERA_HEIGHT = 5.0  # meters
SHOWN = "street"
MIN_SCORE = 0.6  # for training and tracking; the threshold of the other trackers
CAPTION = "HOTA to IDF1 in percent, higher is better; untrained: em_kalman before training"
METRICS = ("HOTA", "AssA", "MOTA", "IDF1", "IDSW", "FP", "FN")


def main(arguments: list[str] | None = None) -> None:
    """Render scenes, track them, and score and draw the tracks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-out"), help="output folder (default: demo-out)")
    parser.add_argument("--frames", type=int, default=200, help="frames per scene (default: 200)")
    parser.add_argument("--frame-rate", type=float, default=3.0, help="frames per second (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default: 0)")
    options = parser.parse_args(arguments)
    console = Console()

    scenes = options.output / "scenes"
    for number, (name, people) in track(list(enumerate(SCENES.items())), "rendering scenes", console=console):
        scene = make_scene(
            options.seed + number, people, options.frames, frame_rate=options.frame_rate, camera_height=CAMERA_HEIGHT
        )
        scene.save(scenes, name)
    sequences = find_sequences(scenes, benchmark="generic")

    trackers = TRACKERS | learn(scenes, console)

    title = f"synthetic crowds at {options.frame_rate:g} frames per second, default parameters"
    table = Table(title=title, caption=CAPTION)
    table.add_column("tracker")
    for column in (*METRICS, "frames/s"):
        table.add_column(column, justify="right")
    for name, make_tracker in track(list(trackers.items()), "tracking and scoring", console=console):
        seconds = 0.0
        for sequence in sequences:
            tracker, detections = make_tracker(frame_rate=sequence.frame_rate), sequence.detections()
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
    for name in track([*TRACKERS, "em_kalman"], "drawing trajectories", console=console):
        tracks = read_mot(options.output / name / f"{SHOWN}.txt", kind="results")
        saved.append(save_trajectories(shown, tracks, options.output / f"{name}.png"))
    with console.status("drawing the videos"):
        first = shown.window(1, min(60, options.frames))
        for name in ("bytetrack", "em_kalman"):
            tracks = read_mot(options.output / name / f"{SHOWN}.txt", kind="results")
            saved.append(save_video(first, tracks, options.output / f"{name}.mp4"))

    console.print(table)
    console.print(
        "[bold]What to see[/]: colors of paths are identities. bytetrack matches boxes by overlap and changes them; "
        "em_kalman has learned how people move."
    )
    console.print(f"[bold]Pictures and videos[/]: {', '.join(str(path) for path in saved)}")
    console.print(
        f"[bold]Run it yourself[/]:\n  mot track {scenes} --benchmark generic --tracker bytetrack --output out"
    )
    console.print(f"  mot eval out --gt {scenes} --benchmark generic")


def learn(scenes: Path, console: Console) -> dict[str, Callable[..., OnlineTracker]]:
    """Return trackers with the same model, before and after it learned association from unlabeled detections."""
    found = read_detections(scenes, benchmark="generic", min_score=MIN_SCORE)
    torch.manual_seed(0)
    untrained = NeuralKalmanFilter().eval()
    trained = NeuralKalmanFilter()
    trained.load_state_dict(untrained.state_dict())
    with console.status("training em_kalman on detections, without labels"):
        windows = WindowSampler(found)
        fit(trained, windows, Schedule(min_steps=60))
        trained.motion = learn_noise(confident_trajectories(trained, windows), trained.motion)
    models = {"untrained": untrained, "em_kalman": trained.eval()}
    return {name: partial(EMKalmanTracker, model=model, min_score=MIN_SCORE) for name, model in models.items()}


if __name__ == "__main__":
    main()
