"""``mot track``: tracking of detections or images, with one result file per sequence."""

from __future__ import annotations

import argparse
from pathlib import Path

from mot_core.cli.parser import Parser, add_benchmark, add_window
from mot_core.cli.track.detections import run
from mot_core.cli.track.filling import add_interpolation
from mot_core.cli.track.flags import Parameter, add_flags, parameters_of
from mot_core.cli.track.registry import installed_trackers, load_tracker, takes_images

EPILOG = """\
examples:
  mot track data/MOT17/train --tracker bytetrack --detections yolox --output out
  mot track data/MOT17/train --tracker ocsort --preset official --detections yolox --output out
  mot track data/mine/street --tracker sort --max-age 50 --plot --output out
  mot track data/MOT17/train --tracker botsort --detections yolox --interpolate 20 --output out
  mot track street.mp4 --tracker motip --checkpoint runs/first/last.ckpt --video --output out

Parameters of a tracker are flags too; to list them: mot track --tracker NAME --help
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot track``, including those of the tracker named in ``arguments``."""
    parser.epilog = EPILOG
    probe = Parser(prog=parser.prog, add_help=False)
    probe.add_argument("--tracker")
    name = probe.parse_known_args(arguments)[0].tracker
    tracker = None if name is None else load_tracker(name)
    images = tracker is not None and takes_images(tracker)
    expected = "a sequence or a folder of sequences"
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help=f"{expected} with images, a folder of images, or a video" if images else expected,
    )
    names = ", ".join(installed_trackers())
    parser.add_argument("--tracker", metavar="NAME", required=True, help=f"tracker to use; installed: {names}")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder for the results DIR/<sequence>.txt"
    )
    add_benchmark(parser)
    add_window(parser)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML file with parameters of the tracker; flags override it"
    )
    parser.add_argument("--plot", action="store_true", help="also save a picture DIR/<sequence>.png")
    parser.add_argument("--video", action="store_true", help="also save a video DIR/<sequence>.mp4")
    add_interpolation(parser)
    if images:
        from mot_core.cli.track.images import configure_images  # needs Lightning

        assert tracker is not None
        configure_images(parser, name, tracker)
        return
    parser.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        default="det",
        help="detections to read, det/NAME.txt; of several names, the first file found is used (default: det)",
    )
    parser.add_argument("--preset", metavar="NAME", help="named set of tracker parameters, such as official")
    parameters: dict[str, Parameter] = {}
    if tracker is not None:
        parameters = parameters_of(tracker)
        presets = ", ".join(getattr(tracker, "PRESETS", {})) or "none"
        add_flags(parser, f"parameters of {name} (presets: {presets})", parameters)
    parser.set_defaults(run=lambda namespace: run(namespace, tracker, parameters))
