"""``mot configs``: the configs and sweeps that ship with mot-core and the installed packages."""

from __future__ import annotations

import argparse
from pathlib import Path

from mot_core.cli.parser import add_benchmark, add_command
from mot_core.cli.terminal import open_console, print_table

EPILOG = """\
examples:
  mot configs
  mot configs show motip_dancetrack > my.yaml
  mot configs suggest street > my.yaml

A config is used by its name or as a file: mot fit --config motip_dancetrack, mot fit --config my.yaml.
"""
KINDS = {"configs": "mot fit --config", "sweeps": "mot sweep"}


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot configs``."""
    parser.epilog = EPILOG
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    show = add_command(commands, "show", "print a config, to start an own one from it", epilog=EPILOG)
    show.add_argument("name", metavar="NAME", help="name of a config or sweep")
    show.set_defaults(run=print_config)
    suggest = add_command(
        commands,
        "suggest",
        "propose a config for training on a folder of sequences",
        details="Image size, clips, number of steps and schedule follow from its images and ground truth.",
        epilog=EPILOG,
    )
    suggest.add_argument("folder", metavar="FOLDER", type=Path, help="sequences with images and ground truth")
    add_benchmark(suggest)
    suggest.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="device to train on, which decides the size of network and images (default: cuda if available, else cpu)",
    )
    suggest.set_defaults(run=print_proposal)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List all configs and sweeps with their first sentence."""
    from mot_core.cli.fit.configs import shipped_configs

    console = open_console()
    for kind, command in KINDS.items():
        rows = [[name, description(path)] for name, path in shipped_configs(kind).items()]
        print_table(f"{kind} ({command} NAME)", ["name", "what it is"], rows, console, breaks="what it is", left=2)
    return 0


def print_config(arguments: argparse.Namespace) -> int:
    """Print a config or sweep as it is, with its comments."""
    from mot_core.cli.fit.configs import find_config, shipped_configs

    sweeps = shipped_configs("sweeps")
    kind = "sweeps" if arguments.name in sweeps and arguments.name not in shipped_configs() else "configs"
    print(find_config(arguments.name, kind).read_text(encoding="utf-8"), end="")
    return 0


def print_proposal(arguments: argparse.Namespace) -> int:
    """Print a config for the sequences in a folder."""
    import torch

    from mot_core.cli.fit.suggestion import proposal_text

    gpu = arguments.device == "cuda" or (arguments.device == "auto" and torch.cuda.is_available())
    print(proposal_text(arguments.folder, arguments.benchmark, gpu=gpu), end="")
    return 0


def description(path: Path) -> str:
    """Return the first sentence of the comment at the start of a config.

    >>> from mot_core.cli.fit.configs import find_config
    >>> description(find_config("motip_synthetic"))
    'Small MOTIP on synthetic video, trained on one CPU core without files.'
    """
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        lines.append(text)
    sentence, _, _ = " ".join(lines).partition(". ")
    return f"{sentence.removesuffix(':').removesuffix('.')}." if sentence else ""
