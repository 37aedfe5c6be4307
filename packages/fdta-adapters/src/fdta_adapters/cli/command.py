"""``mot fdta``: write depth maps for training."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
examples:
  mot fdta depth data/DanceTrack/train --model models/Depth-Anything-V2-Large-hf
  mot fit --config fdta_motip_dancetrack --data.root data/DanceTrack

Training reads depth/NAME.png next to the images (--data.with_depth true). Tracking needs no depth maps.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot fdta depth``."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "write a depth map for every image of sequences, with a depth model of transformers"
    depth = commands.add_parser(
        "depth",
        help=summary,
        description=summary[0].upper() + summary[1:] + ". Maps that exist are kept, so an interrupted run resumes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
