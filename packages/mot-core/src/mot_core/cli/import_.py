"""``mot import``: conversion of weights released by other projects into a checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

EPILOG = """\
examples:
  mot import motip_dancetrack.pth motip.ckpt --tracker motip
  mot import motip_sportsmot.pth motip.ckpt --config motip_sportsmot
  mot import motr_final.pth motr.ckpt --tracker motr --report keys.txt

--tracker NAME uses the first config of that tracker. The checkpoint also holds the settings, so mot track, mot test and
mot fit --init can read it directly. Weights that contain an installed plug-in, such as those of FDTA, get this plug-in.
No code in SOURCE is executed.
"""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot import``."""
    parser.epilog = EPILOG
    parser.add_argument("source", metavar="SOURCE", type=Path, help="released weights, a file written by torch.save")
    parser.add_argument("output", metavar="OUT", type=Path, help="checkpoint to write")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--tracker", metavar="NAME", help="trainable tracker, built with the settings of its paper")
    which.add_argument(
        "--config",
        metavar="NAME",
        help="config file, or name of a shipped config; its model and its frame size are used",
    )
    parser.add_argument("--report", metavar="FILE", type=Path, help="write a text file with the outcome for every key")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert the weights and print a summary of the keys."""
    from mot_core.checkpoints import read_state_dict
    from mot_core.cli.fit.weights import short_report
    from mot_core.io import open_atomic
    from mot_core.trackers.released_plugins import attach_released, import_released

    state = read_state_dict(arguments.source)
    tracker = _from_config(arguments.config or _config_of(arguments.tracker))
    attach_released(tracker, state)
    report = import_released(tracker, state)
    save(tracker, arguments.output)
    if arguments.report:
        with open_atomic(arguments.report) as file:
            file.write(f"{arguments.source}\n{report}\n")
    print(short_report(report))
    print(f"mot: wrote {arguments.output}", file=sys.stderr)
    return 0


def _config_of(name: str) -> str:
    """Return the config that matches the released weights of a tracker."""
    from mot_core.association.registry import load_tracker, trainable_trackers

    configs: tuple[str, ...] = getattr(load_tracker(name), "configs", ())
    if not configs:
        known = ", ".join(key for key, one in trainable_trackers().items() if one.configs)
        raise ValueError(f"--tracker: expected a tracker with released weights ({known}), got {name}")
    return configs[0]


def save(tracker: Any, path: Path) -> None:
    """Write a checkpoint in the format of `mot fit`, without optimizer state."""
    from lightning import __version__

    from mot_core.io.atomic import save_atomic

    checkpoint: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": __version__,
        "state_dict": tracker.state_dict(),
    }
    tracker.on_save_checkpoint(checkpoint)
    save_atomic(checkpoint, path)


def _from_config(name: str) -> Any:
    """Build the model of a config, and record in it how the data of the config are resized."""
    import torch
    from jsonargparse import ArgumentError, ArgumentParser
    from yaml import safe_load

    from mot_core.cli.fit.configs import find_config
    from mot_core.cli.fit.errors import first_reason, in_one_sentence
    from mot_core.cli.fit.quiet import quiet_lightning
    from mot_core.cli.fit.registered import import_registered
    from mot_core.trackers import Tracker

    import_registered()
    path = find_config(name)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Tracker, "model", required=True)
    config = safe_load(path.read_text(encoding="utf-8"))
    try:
        settings = parser.parse_object({"model": config.get("model")})
    except ArgumentError as error:
        raise ValueError(f"{path}: {in_one_sentence(str(error), ['model'], {'model': Tracker})}") from error
    try:
        with quiet_lightning(), torch.random.fork_rng([]):
            torch.manual_seed(0)  # weights that the source lacks: the same in every run
            tracker = parser.instantiate_classes(settings).model
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {first_reason(str(error))}") from error
    tracker.resize = config.get("data", {}).get("init_args", {}).get("resize")
    return tracker
