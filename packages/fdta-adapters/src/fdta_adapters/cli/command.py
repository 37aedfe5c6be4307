"""``mot fdta``: write depth maps for training, and show what the adapters do."""

from __future__ import annotations

import argparse
from pathlib import Path

from mot_core.cli.parser import add_command

EPILOG = """\
examples:
  mot fdta depth data/DanceTrack/train --model models/Depth-Anything-V2-Large-hf
  mot fit --config fdta_motip_dancetrack --data.root data/DanceTrack
  mot fdta explain runs/version_0/checkpoints/last.ckpt data/DanceTrack/val/dancetrack0004 --output pictures

Training reads depth/NAME.png next to the images (--data.with_depth true). Tracking needs no depth maps.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot fdta depth`` and ``mot fdta explain``."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "write a depth map for every image of sequences, with a depth model of transformers"
    details = "Maps that exist are kept, so an interrupted run resumes."
    depth = add_command(commands, "depth", summary, details=details, epilog=EPILOG)
    depth.add_argument("source", metavar="SOURCE", type=Path, help="a sequence with images, or a folder of sequences")
    depth.add_argument(
        "--model",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder of a model saved by transformers (AutoModelForDepthEstimation); nothing is downloaded",
    )
    depth.add_argument(
        "--kind",
        choices=("auto", "disparity", "depth"),
        default="auto",
        help="whether larger outputs of the model are nearer (disparity) or farther (depth); auto reads it from the "
        "model's configuration (default: %(default)s)",
    )
    depth.add_argument("--batch-size", metavar="N", type=int, default=4, help="images per step (default: %(default)s)")
    depth.add_argument("--device", metavar="NAME", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    depth.add_argument("--benchmark", metavar="NAME", default="auto", help="as for mot track (default: %(default)s)")
    depth.set_defaults(run=run_depth)
    summary = "draw predicted depth, attention to it, use of history and similarity of objects"
    explain = add_command(commands, "explain", summary, epilog=EPILOG)
    explain.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="trained tracker with adapters")
    explain.add_argument("source", metavar="SOURCE", type=Path, help="a sequence, a folder of images or a video")
    explain.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder of the pictures")
    explain.add_argument("--frames", metavar="N", type=int, default=30, help="frames to track (default: %(default)s)")
    explain.add_argument(
        "--min-score", metavar="S", type=float, default=0.3, help="score of an object (default: %(default)s)"
    )
    explain.set_defaults(run=run_explain)


def run_depth(options: argparse.Namespace) -> int:
    """Write the depth maps of all sequences."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from fdta_adapters.depth_maps import DepthModel, write_depth_maps
    from mot_core.io import find_sequences

    if options.batch_size < 1:
        raise ValueError(f"--batch-size: expected at least 1, got {options.batch_size}")
    sequences = find_sequences(options.source, benchmark=options.benchmark)
    model = DepthModel(options.model, kind=options.kind, device=options.device)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for sequence in sequences:
            task = progress.add_task(sequence.name)

            def show(done: int, total: int, task: TaskID = task) -> None:
                progress.update(task, completed=done, total=total)

            written, kept = write_depth_maps(sequence, model, batch_size=options.batch_size, on_progress=show)
            folder = sequence.path / "depth"
            print(f"{folder}: {written} maps of {model.kind} written, {kept} kept")
    return 0


def run_explain(options: argparse.Namespace) -> int:
    """Track the start of a video and draw what the adapters do."""
    from fdta_adapters.explanation import explain_adapters, plot_adapters
    from mot_core.cli.track.images import open_video
    from mot_core.extras import require

    if options.frames < 1:
        raise ValueError(f"--frames: expected at least 1, got {options.frames}")
    require("plot", "drawing")
    tracker, frames = open_video(options.source, options.checkpoint, options.frames)
    explained = explain_adapters(tracker, frames, min_score=options.min_score)
    for path in plot_adapters(explained, options.output):
        print(path)
    similarity = explained.similarity
    pairs = len(similarity.similarity)
    print(f"{pairs} pairs of objects: mean similarity {similarity.mean:.2f}, {similarity.above:.0%} above 0.9")
    return 0
