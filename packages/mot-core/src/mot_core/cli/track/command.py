"""``mot track``: tracking of detections or images, with one result file per sequence."""

from __future__ import annotations

import argparse
from pathlib import Path

from mot_core.association.registry import (
    installed_adaptations,
    installed_trackers,
    load_tracker,
    takes_images,
    tracker_of,
)
from mot_core.cli.parser import Parser, add_benchmark, add_window
from mot_core.cli.track.detections import run
from mot_core.cli.track.detector import configure_detector, run_with_detector
from mot_core.cli.track.flags import Parameter, add_flags, parameters_of
from mot_core.cli.track.offline import add_offline
from mot_core.detectors import installed_detectors

EPILOG = """\
examples:
  mot track data/MOT17/train --tracker bytetrack --detections yolox --output out
  mot track data/MOT17/train --tracker ocsort --preset official --detections yolox --output out
  mot track data/mine/street --tracker sort --max-age 50 --plot --output out
  mot track data/MOT17/train --tracker botsort --detections yolox --link 60 --interpolate 60 --output out
  mot track street.mp4 --detector onnx:yolox_s.onnx --classes person,car --video --output out
  mot track street.mp4 --checkpoint runs/first/last.ckpt --video --output out

Parameters of a tracker are flags too; to list them: mot track --tracker NAME --help
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot track``, including those of the tracker named in ``arguments``."""
    parser.epilog = EPILOG
    probe = Parser(prog=parser.prog, add_help=False)
    probe.add_argument("--tracker")
    probe.add_argument("--checkpoint", type=Path)
    probe.add_argument("--detector")
    known = probe.parse_known_args(arguments)[0]
    name = known.tracker
    if name is None and known.checkpoint is not None:
        name = tracker_of(known.checkpoint)
    elif name is None and known.detector is not None:
        name = "bytetrack"
    tracker = None if name is None else load_tracker(name)
    images = tracker is not None and takes_images(tracker)
    if images and known.detector is not None:
        raise ValueError(
            f"--detector: expected a tracker of detections such as bytetrack, got {name}, which detects by "
            "itself; leave out --detector or choose another tracker"
        )
    expected = "a sequence or a folder of sequences"
    if images or known.detector is not None:
        expected += " with images, a folder of images, or a video"
    if known.detector is not None:
        expected += ", the number of a camera, or an address (rtsp://, http://)"
    parser.add_argument("source", metavar="SOURCE", help=expected)  # a string, because Path would change an address
    names = ", ".join(installed_trackers())
    parser.add_argument(
        "--tracker",
        metavar="NAME",
        required=name is None,
        default=name,
        help=f"tracker to use (default: that of --checkpoint, or bytetrack with --detector); installed: {names}",
    )
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
    add_offline(parser)
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON; - for stdout")
    if images:
        from mot_core.cli.track.images import configure_images  # needs Lightning

        assert tracker is not None
        configure_images(parser, name, tracker)
        return
    parser.add_argument(
        "--detector",
        metavar="KIND:ARGUMENT",
        help="detect objects in images first: onnx:FILE, transformers:FOLDER or module:callable; installed kinds: "
        + ", ".join(installed_detectors()),
    )
    if known.detector is not None:
        configure_detector(parser)
    parser.add_argument(
        "--detections",
        metavar="NAME[,NAME]",
        help="detections to read, det/NAME.txt; of several names, the first file found is used (default: det, or the "
        "only file)",
    )
    parser.add_argument("--preset", metavar="NAME", help="named set of tracker parameters, such as official")
    parser.set_defaults(adapt=False)
    if name in installed_adaptations() and known.detector is None:
        parser.add_argument(
            "--adapt",
            action="store_true",
            help=f"first train on these detections, without labels, and save the model as DIR/{name}.pt",
        )
    parameters: dict[str, Parameter] = {}
    if tracker is not None:
        parameters = parameters_of(tracker)
        presets = ", ".join(getattr(tracker, "PRESETS", {})) or "none"
        add_flags(parser, f"parameters of {name} (presets: {presets})", parameters)
    command = run if known.detector is None else run_with_detector
    parser.set_defaults(run=lambda namespace: command(namespace, tracker, parameters))
