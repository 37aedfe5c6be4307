"""The ``mot`` command; subcommands are imported only when called, so that it starts fast."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from keyword import iskeyword

from mot_core.cli.parser import Parser, Version, add_command

TRAINING = {
    "fit": "train a tracker, from a config and flags",
    "validate": "score a checkpoint on the validation data of a config",
    "test": "score a checkpoint on test data and write result files",
    "predict": "write result files of a checkpoint on data without ground truth",
}
"""Subcommands run by LightningCLI, which parses its own arguments, with their summaries."""

COMMANDS = {
    "track": "track objects through detections or images, with any installed tracker",
    "eval": "score results against ground truth: HOTA, CLEAR, Identity",
    "data": "check a dataset before using it",
    **TRAINING,
    "import": "convert weights released by other projects into a checkpoint",
    "sweep": "search training settings from a W&B sweep file, without a W&B account",
    "configs": "list the shipped configs, or print one",
    "bench": "measure the GPU kernels on this machine",
    "plugins": "list the installed plug-ins and the packages that provide them",
    "env": "print versions, devices and plug-ins, for bug reports",
    "completion": "print the code that lets a shell complete commands, flags and names",
}
"""Subcommands and their summaries; each is a module of this package with ``configure(parser, arguments)``."""

COMMAND_GROUP = "mot_core.commands"
"""Entry-point group for commands provided by method packages."""

FOLDERS = {"track", "sweep"}
"""Subcommands that are packages, with ``configure`` in ``command.py``."""

DESCRIPTION = "Track objects, score tracks and train trackers on folders in MOTChallenge or KITTI layout."
EPILOG = """\
examples:
  mot data check data/MOT17/train
  mot track data/MOT17/train --tracker bytetrack --output out
  mot eval out --gt data/MOT17/train
  mot fit --config motip_synthetic

exit codes: 0 success, 1 invalid input (one sentence on stderr), 2 wrong usage, 130 interrupted.
Set MOT_DEBUG=1 in the environment to get a traceback instead of the sentence.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mot`` and return its exit code.

    Args:
        arguments: Command-line arguments after ``mot``. Default: those of this process.

    >>> main(["--version"])
    mot 0.1.0
    0
    """
    if arguments is None:  # run as a program: job schedulers send SIGTERM, which must clean up like Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as exit_:  # argparse: --help, --version or wrong usage
        return int(exit_.code or 0)
    except KeyboardInterrupt as interruption:
        return _print_error(f"interrupted{': ' if str(interruption) else ''}{interruption}", 130)
    except BrokenPipeError:  # the reader of our output (head, less) has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("MOT_DEBUG"):
            raise
        return _print_error(f"error: {_sentence(error)}", 1)


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] in TRAINING:
        return int(import_module("mot_core.cli.fit.command").run(arguments[0], arguments[1:]))
    parser = build_parser(arguments)
    namespace = parser.parse_args(arguments)
    code = int(namespace.run(namespace))
    sys.stdout.flush()  # raises BrokenPipeError here if the reader has exited
    return code


def build_parser(arguments: list[str]) -> Parser:
    """Return the parser of ``mot``, with the arguments of the command that ``arguments`` name; others only by name.

    >>> "--gt" in build_parser(["eval"]).named_by(["eval"]).flags()
    True
    """
    parser = Parser(prog="mot", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    packaged = package_commands()
    summaries = {**{name: _summary(point) for name, point in packaged.items()}, **COMMANDS}
    for name in (*COMMANDS, *(name for name in packaged if name not in COMMANDS)):
        summary = summaries[name]
        command = add_command(commands, name, summary)
        if name == called:
            import_module(module_of(name) if name in COMMANDS else packaged[name].value).configure(command, arguments)
    return parser


def package_commands() -> dict[str, EntryPoint]:
    """Return the commands of installed method packages by name, without importing them.

    A package declares a command in the entry-point group ``mot_core.commands``: a module with
    ``configure(parser, arguments)``, like the built-in commands.

    >>> all(point.group == "mot_core.commands" for point in package_commands().values())
    True
    """
    return {point.name: point for point in sorted(entry_points(group=COMMAND_GROUP), key=lambda point: point.name)}


def _summary(point: EntryPoint) -> str:
    """Return the summary of the package that provides a command."""
    summary = point.dist.metadata["Summary"] if point.dist else ""
    return summary or f"commands of {point.value.partition('.')[0]}"


def module_of(command: str) -> str:
    """Return the module that defines a subcommand.

    >>> module_of("import"), module_of("track")
    ('mot_core.cli.import_', 'mot_core.cli.track.command')
    """
    if command in FOLDERS:
        return f"mot_core.cli.{command}.command"
    return f"mot_core.cli.{command}{'_' * iskeyword(command)}"


def _sentence(error: Exception) -> str:
    """Return the message of ``error``, without the error number of the operating system."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    message = str(error) or type(error).__name__
    if message.startswith("Caught ") and "DataLoader worker process" in message:  # a traceback; the error is last
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message


def _print_error(message: str, code: int) -> int:
    print(f"mot: {message}", file=sys.stderr)
    return code
