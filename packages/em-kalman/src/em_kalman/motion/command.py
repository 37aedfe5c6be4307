"""``python -m em_kalman.motion.command``: the motion noise of detections, for ``mot track --motion FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from em_kalman.checkpoint import load_model
from em_kalman.detections.sampler import WindowSampler
from em_kalman.detections.sequences import DetectionSequence, read_detections
from em_kalman.motion.noise import confident_trajectories, learn_noise, noise_loglik
from mot_core.association.kalman import BYTETRACK_NOISE, SORT_NOISE

LEARNED_SHARE = 0.8  # of the frames of a sequence; the rest is held out

EPILOG = """\
example:
  mot fit --config em_kalman_mot17 --data.root data/MOT17/train
  python -m em_kalman.motion.command data/MOT17/train --checkpoint FILE --output motion.json
  mot track data/MOT17/test --tracker bytetrack --motion motion.json --output out

The noise is of these detections at this frame rate: another detector or another frame rate has another one.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn, compare with the constants of the trackers on the last fifth of every sequence, and write.

    Args:
        arguments: of the command line; by default those of this process.

    Returns:
        The exit code: 0 done, 1 a problem with the input, 2 wrong usage.

    >>> import contextlib, io
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     code = main(["--help"])
    >>> code
    0
    """
    parser = argparse.ArgumentParser(
        prog="python -m em_kalman.motion.command",
        description="Learn how detections move and how exact they are, without labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="a sequence, or a folder of sequences")
    parser.add_argument("--checkpoint", metavar="FILE", required=True, help="a trained model of em_kalman")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        default="det",
        help="read det/NAME.txt; of several the first that a sequence has (default: det)",
    )
    parser.add_argument("--benchmark", metavar="NAME", default="auto", help="as of mot track (default: auto)")
    try:
        options = parser.parse_args(arguments)
        _run(options)
    except SystemExit as exit_:  # argparse: --help or wrong usage
        return int(exit_.code or 0)
    except (ValueError, OSError) as error:
        print(f"em_kalman: error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
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


def _end(sequence: DetectionSequence) -> int:
    return int(LEARNED_SHARE * len(sequence.frames))


if __name__ == "__main__":
    sys.exit(main())
