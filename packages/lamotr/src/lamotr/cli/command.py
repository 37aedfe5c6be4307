"""``mot lamotr``: learn an association cost for ``mot track --cost lamotr:FILE``, and draw what was associated."""

from __future__ import annotations

import argparse
from pathlib import Path

from mot_core.cli.parser import add_command

HELD_OUT_SHARE = 0.1  # of the frames of a sequence, at its end

EPILOG = """\
examples:
  mot lamotr learn-cost data/MOT17/train data/DanceTrack/train --detections yolox,det --output cost.pt
  mot track data/MOT17/test --tracker bytetrack --cost lamotr:cost.pt --output out
  mot lamotr explain runs/version_0/checkpoints/last.ckpt data/DanceTrack/val/dancetrack0004 --output pictures

The cost describes detections of this detector at this frame rate. Learn it again for another one.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot lamotr learn-cost`` and ``mot lamotr explain``."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "learn to associate detections with tracks by boxes and motion, from sequences with ground truth"
    learn = add_command(commands, "learn-cost", summary, epilog=EPILOG)
    learn.add_argument("sources", metavar="SOURCE", nargs="+", type=Path, help="a sequence, or a folder of sequences")
    learn.add_argument("--output", metavar="FILE", type=Path, required=True, help="file to write")
    learn.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        default="det",
        help="read det/NAME.txt; given several names, the first one that a sequence has (default: det)",
    )
    learn.add_argument("--benchmark", metavar="NAME", default="auto", help="as for mot track (default: auto)")
    learn.add_argument("--steps", metavar="N", type=int, default=2000, help="optimizer steps (default: %(default)s)")
    learn.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed for all random draws (default: %(default)s)"
    )
    learn.set_defaults(run=run)
    summary = "draw objects and tracks of a video with the matrix of their association scores"
    explain = add_command(commands, "explain", summary, epilog=EPILOG)
    explain.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="trained LA-MOTR, or tracker with LAMOTRPlugin"
    )
    explain.add_argument("source", metavar="SOURCE", type=Path, help="a sequence, a folder of images or a video")
    explain.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder of the pictures")
    explain.add_argument("--frames", metavar="N", type=int, default=30, help="frames to track (default: %(default)s)")
    explain.add_argument(
        "--every", metavar="N", type=int, default=1, help="draw every N-th frame (default: %(default)s)"
    )
    explain.add_argument(
        "--min-score", metavar="S", type=float, default=0.3, help="score of an object (default: %(default)s)"
    )
    explain.set_defaults(run=draw)


def run(options: argparse.Namespace) -> int:
    """Record the sequences, train on the start of each, report the quality on the rest, and write the cost."""
    from lamotr.cost.model import save_cost
    from lamotr.cost.recording import record_associations
    from lamotr.cost.training import CostTraining, association_quality, learn_cost
    from mot_core.cli.terminal import Progress, print_note
    from mot_core.io import find_sequences
    from mot_core.io.guess import fallback_note

    training = CostTraining(steps=options.steps, seed=options.seed)
    sequences = [one for source in options.sources for one in find_sequences(source, benchmark=options.benchmark)]
    print_note(fallback_note(options.benchmark, sequences[0].benchmark))
    learned_from, held_out = [], []
    with Progress(sum(sequence.length for sequence in sequences) + training.steps) as progress:
        for sequence in sequences:
            progress.describe(f"reading {sequence.name}")
            detections = sequence.detections(options.detections)
            records = list(record_associations(sequence, detections, progress.advance))
            end = round((1 - HELD_OUT_SHARE) * len(records))
            learned_from += records[:end]
            held_out += records[end:]
        progress.describe("training")
        model = learn_cost(learned_from, training, lambda _: progress.advance())
    names = ", ".join(sequence.name for sequence in sequences)
    save_cost(model, options.output, f"{names} ({options.detections})")
    quality = association_quality(model, held_out)
    print(f"learned from {len(learned_from)} frames of {len(sequences)} sequences")
    print(
        f"pairs with a score above 0.5 in {quality.frames} held-out frames: precision {quality.precision:.3f}, "
        f"recall {quality.recall:.3f}"
    )
    print(f"wrote {options.output}: mot track ... --cost lamotr:{options.output}")
    return 0


def draw(options: argparse.Namespace) -> int:
    """Track the start of a video and draw the associations."""
    from lamotr.explanation import explain_association, plot_association
    from mot_core.cli.track.images import open_video
    from mot_core.extras import require

    for name in ("frames", "every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name}: expected at least 1, got {getattr(options, name)}")
    require("plot", "drawing")
    tracker, frames = open_video(options.source, options.checkpoint, options.frames)
    explained = explain_association(tracker, frames, options.min_score)
    for frame in explained[:: options.every]:
        print(plot_association(frame, options.output / f"association_{frame.number:06d}.png"))
    pairs = sum(frame.scores.size for frame in explained)
    above = sum(int((frame.scores > 0.5).sum()) for frame in explained)
    print(f"{len(explained)} frames, {pairs} pairs of tracks and objects, {above} with a score above 0.5")
    return 0
