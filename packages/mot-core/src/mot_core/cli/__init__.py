"""The ``mot`` command. It starts fast: a subcommand is imported when it is called, not before."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from keyword import iskeyword

from mot_core.cli.parser import Parser, Version

TRAINING = {
    "fit": "train a tracker, from a config and flags",
    "validate": "score a checkpoint on the validation data of a config",
    "test": "score a checkpoint on test data, and write its result files",
    "predict": "write the result files of a checkpoint, without ground truth",
}
"""Those of LightningCLI, which reads its own arguments."""

COMMANDS = {
    "track": "track objects through detections or images, with any installed tracker",
    "eval": "score results against ground truth: HOTA, CLEAR, Identity",
    "data": "check a data set before using it",
    **TRAINING,
    "import": "convert released weights of other projects into a checkpoint",
    "sweep": "search settings of a training: the file of a W&B sweep, without an account",
    "bench": "measure the GPU kernels on this machine",
    "plugins": "list what can be attached to a tracker, and where it comes from",
}
"""Subcommands, each a module of this package with ``configure(parser, arguments)``, and what they do."""

COMMAND_GROUP = "mot_core.commands"
"""Entry-point group of commands that method packages add."""

FOLDERS = {"track", "sweep"}
"""Subcommands that are a folder, with ``configure`` in ``command.py``."""

DESCRIPTION = "Track objects, score the tracks and train trackers, on folders in MOTChallenge or KITTI layout."
EPILOG = """\
examples:
  mot data check data/MOT17/train
  mot track data/MOT17/train --tracker bytetrack --output out
  mot eval out --gt data/MOT17/train
  mot fit --config motip_synthetic

exit codes: 0 done, 1 a problem with the input (one sentence on stderr), 2 wrong usage, 130 interrupted.
MOT_DEBUG=1 in the environment shows where in the code a problem was found.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mot`` and return its exit code.

    Args:
        arguments: what follows ``mot`` on the command line; by default that of this process.

    >>> main(["--version"])
    mot 0.1.0
    0
    """
    if arguments is None:  # a program of its own: job schedulers stop it by SIGTERM, which must clean up like Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as exit_:  # argparse: --help, --version or wrong usage
        return int(exit_.code or 0)
    except KeyboardInterrupt as interruption:
        return _complain(f"interrupted{': ' if str(interruption) else ''}{interruption}", 130)
    except BrokenPipeError:  # the reader of our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("MOT_DEBUG"):
            raise
        return _complain(f"error: {_sentence(error)}", 1)


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in TRAINING:
        return int(import_module("mot_core.cli.fit.command").run(arguments[0], arguments[1:]))
    parser = Parser(prog="mot", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    packaged = package_commands()
    summaries = {**{name: _summary(point) for name, point in packaged.items()}, **COMMANDS}
    for name in (*COMMANDS, *(name for name in packaged if name not in COMMANDS)):
        summary = summaries[name]
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == called:
            import_module(module_of(name) if name in COMMANDS else packaged[name].value).configure(command, arguments)
    namespace = parser.parse_args(arguments)
    code = int(namespace.run(namespace))
    sys.stdout.flush()  # so that a reader that went away is noticed here
    return code


def package_commands() -> dict[str, EntryPoint]:
    """Return the commands of installed method packages by name; nothing is imported.

    A package declares one in the entry-point group ``mot_core.commands``: a module with
    ``configure(parser, arguments)``, like the modules of our own commands.
    """
    return {point.name: point for point in sorted(entry_points(group=COMMAND_GROUP), key=lambda point: point.name)}


def _summary(point: EntryPoint) -> str:
    """The summary of the package that provides a command."""
    summary = point.dist.metadata["Summary"] if point.dist else ""
    return summary or f"commands of {point.value.partition('.')[0]}"


def module_of(command: str) -> str:
    """The module of a subcommand.

    >>> module_of("import"), module_of("track")
    ('mot_core.cli.import_', 'mot_core.cli.track.command')
    """
    if command in FOLDERS:
        return f"mot_core.cli.{command}.command"
    return f"mot_core.cli.{command}{'_' * iskeyword(command)}"


def _sentence(error: Exception) -> str:
    """The message of ``error``; those of the operating system start with a number that tells nothing."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    message = str(error) or type(error).__name__
    if (
        message.startswith("Caught ") and "DataLoader worker process" in message
    ):  # a traceback with the error at its end
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message


def _complain(message: str, code: int) -> int:
    print(f"mot: {message}", file=sys.stderr)
    return code
