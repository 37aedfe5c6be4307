"""``mot em-kalman``: train on the detections to be tracked, and learn their motion noise for other trackers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mot_core.cli.parser import add_command

if TYPE_CHECKING:
    from em_kalman.detections.sequences import DetectionSequence

LEARNED_SHARE = 0.8  # of the frames of a sequence; the rest is held out

ADAPT_EPILOG = """\
examples:
  mot em-kalman adapt data/MOT17/test --detections yolox --output model.pt
  mot track data/MOT17/test --detections yolox --tracker em_kalman --checkpoint model.pt --output out
  mot track data/MOT17/test --detections yolox --tracker em_kalman --adapt --output out    (both in one)

Training takes about half a minute of one CPU core. Ground truth is not opened.
"""
EPILOG = """\
examples:
  mot fit --config em_kalman_mot17 --data.root data/MOT17/train
  mot em-kalman learn-motion data/MOT17/train --checkpoint FILE --output motion.json
  mot track data/MOT17/test --tracker bytetrack --motion motion.json --output out

The noise describes these detections at this frame rate. Learn it again for another detector or frame rate.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare ``mot em-kalman adapt`` and ``mot em-kalman learn-motion``."""
    parser.epilog = ADAPT_EPILOG + EPILOG.removeprefix("examples:\n")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "train a model on the detections to be tracked, without labels"
    train = add_command(commands, "adapt", summary, epilog=ADAPT_EPILOG)
    _add_source(train)
    train.add_argument("--output", metavar="MODEL", type=Path, required=True, help="model file to write")
    train.add_argument(
        "--min-score", type=float, metavar="FLOAT", help="minimum score of strong detections (default: 0.6)"
    )
    train.add_argument(
        "--low-score", type=float, metavar="FLOAT", help="minimum score of weak detections (default: 0.1)"
    )
    train.add_argument(
        "--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="for sequences that do not declare it"
    )
    train.add_argument("--seed", type=int, default=0, metavar="INT", help="seed for weights and order (default: 0)")
    train.set_defaults(run=run_adapt)
    summary = "learn the motion and the measurement noise of detections, without labels"
    learn = add_command(commands, "learn-motion", summary, epilog=EPILOG)
    _add_source(learn)
    learn.add_argument("--checkpoint", metavar="FILE", required=True, help="trained em_kalman model")
    learn.add_argument("--output", metavar="FILE", type=Path, required=True, help="JSON file to write")
    learn.set_defaults(run=run)


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", metavar="SOURCE", help="a sequence, or a folder of sequences")
    command.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        default="det",
        help="read det/NAME.txt; given several names, the first one that a sequence has (default: det)",
    )
    command.add_argument("--benchmark", metavar="NAME", default="auto", help="as for mot track (default: auto)")


def run_adapt(options: argparse.Namespace) -> int:
    """Train a model on the detections of ``SOURCE`` and write it."""
    from em_kalman.adaptation import adapt, describe_record
    from em_kalman.checkpoint import save_model
    from em_kalman.detections.sequences import read_detections

    size = None if options.image_size is None else tuple(options.image_size)
    sequences = read_detections(options.source, options.detections, benchmark=options.benchmark, image_size=size)

    def report(record: dict[str, float]) -> None:
        if text := describe_record(record):
            print(text)

    thresholds = {"min_score": options.min_score, "low_score": options.low_score}
    model = adapt(sequences, **thresholds, seed=options.seed, report=report)
    save_model(model, options.output)
    print(f"wrote {options.output}: mot track ... --tracker em_kalman --checkpoint {options.output}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Learn the noise on the first frames, compare it with the trackers' constants on the others, and write it."""
    from dataclasses import replace

    from em_kalman.checkpoint import load_model
    from em_kalman.detections.sampler import WindowSampler
    from em_kalman.detections.sequences import read_detections
    from em_kalman.motion.noise import confident_trajectories, learn_noise, noise_loglik
    from mot_core.association.kalman import BYTETRACK_NOISE, SORT_NOISE

    model = load_model(options.checkpoint)
    sequences = read_detections(options.source, options.detections, benchmark=options.benchmark)
    first = [replace(one, frames=one.frames[: _end(one)]) for one in sequences]
    last = [replace(one, frames=one.frames[_end(one) :]) for one in sequences]
    learned_from, held_out = (confident_trajectories(model, WindowSampler(part, stride=10)) for part in (first, last))
    names = ", ".join(sequence.name for sequence in sequences)
    motion = learn_noise(learned_from, model.motion).for_trackers(f"{names} ({options.detections})")
    motion.save(options.output)
    print(f"learned from {learned_from.count} detections: q {motion.q:.3g}, r {motion.r:.3g} (square box heights)")
    print(f"log-density of {held_out.count} held-out detections, in nats each; higher is better:")
    rows = {
        "learned": motion.noise(BYTETRACK_NOISE),
        "constants of bytetrack": BYTETRACK_NOISE,
        "constants of sort and ocsort": SORT_NOISE,
    }
    for name, noise in rows.items():
        print(f"  {name:<28} {noise_loglik(held_out, noise):8.3f}")
    print(f"wrote {options.output}: mot track ... --motion {options.output}")
    return 0


def _end(sequence: DetectionSequence) -> int:
    return int(LEARNED_SHARE * len(sequence.frames))
