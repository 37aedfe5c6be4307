"""Argument parser of all subcommands, and arguments shared by several of them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mot_core.suggestions import suggest_name


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations that keeps line breaks and reports errors in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all arguments; an error about an unknown flag proposes the nearest flag of the subcommand."""
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            owner = self.named_by(sys.argv[1:] if args is None else args)
            flag = unknown[0].partition("=")[0]
            hint = f"; {suggest_name(flag, owner.flags())}" if flag.startswith("-") else ""
            owner.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return namespace

    def named_by(self, words: Sequence[str]) -> Parser:
        """Return the parser of the subcommand that ``words`` name, or this one if they name none."""
        choices: dict[str, Any] = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                choices.update(action.choices)
        for position, word in enumerate(words):
            if word in choices:
                found: Parser = choices[word]
                return found.named_by(words[position + 1 :])
        return self

    def flags(self) -> list[str]:
        """Return all flags of this parser that its help lists."""
        actions = [action for action in self._actions if action.help != argparse.SUPPRESS]
        return [flag for action in actions for flag in action.option_strings]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Propose the nearest choice instead of listing all."""
        if action.choices is not None and value not in action.choices:
            hint = suggest_name(str(value), map(str, action.choices), "choose from")
            raise argparse.ArgumentError(action, f"invalid choice: {str(value)!r}; {hint}")

    def error(self, message: str) -> NoReturn:
        """Print the error without the usage, which would push it off the screen for a tracker with many flags."""
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Reject empty values: as a path, "" is the current folder, and as a file name it would be ignored."""
        if "" in arg_strings and action.nargs != argparse.PARSER:  # a subcommand checks its own arguments
            raise argparse.ArgumentError(action, "expected a value, got an empty string")
        return super()._get_values(action, arg_strings)


def add_command(
    commands: Any, name: str, summary: str, *, details: str = "", epilog: str | None = None
) -> argparse.ArgumentParser:
    """Add a subcommand, described by its summary as a sentence.

    Args:
        commands: Result of ``add_subparsers``.
        name: Name of the subcommand.
        summary: Line in the list of commands, in lower case without a period.
        details: Sentences that follow the summary in the help of the subcommand.
        epilog: Text at the end of its help.

    >>> commands = Parser(prog="mot").add_subparsers()
    >>> add_command(commands, "check", "list the sequences", details="Reads no images.").description
    'List the sequences. Reads no images.'
    """
    description = f"{summary[0].upper()}{summary[1:]}. {details}".rstrip()
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=description, epilog=epilog)
    return command


class Version(argparse.Action):
    """Print the version, looked up only on request because that reads the file system."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print the version and exit."""
        print(f"mot {version()}")
        parser.exit()


def version() -> str:
    """Return the version of the installed mot-core."""
    from importlib.metadata import version

    return version("mot-core")


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Add ``--benchmark``, which selects the layout and the rules."""
    from mot_core.io import BENCHMARKS

    names = ", ".join(BENCHMARKS)
    parser.add_argument(
        "--benchmark",
        type=_benchmark,
        default="auto",
        metavar="B",
        help=f"layout and rules of the data: auto (inferred from folder names; the default), {names}; "
        "use generic for your own data",
    )


def _benchmark(text: str) -> str:
    from mot_core.io import get_benchmark

    if text.lower() == "auto":
        return "auto"
    try:
        return get_benchmark(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_window(parser: argparse.ArgumentParser) -> None:
    """Add ``--frames`` and ``--split``, which limit the frames."""
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--frames", type=frame_range, metavar="A-B", help="use only frames A to B of every sequence, inclusive"
    )
    window.add_argument(
        "--split",
        choices=["half-val"],
        help="use only a part of every sequence: half-val is the second half, as is customary for MOT17",
    )


def frame_range(text: str) -> tuple[int, int]:
    """Parse ``A-B`` into two frame numbers.

    >>> frame_range("301-600")
    (301, 600)
    """
    match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"expected A-B, two frame numbers with A <= B, got {text!r}")
    return int(match[1]), int(match[2])
