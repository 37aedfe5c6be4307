"""The argument parser of all subcommands, and the arguments that several of them share."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations, keeps line breaks, and complains in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong; the usage of a tracker with many flags would push it off the screen."""
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


class Version(argparse.Action):
    """Print the version; looked up only when asked for, because that reads the file system."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Called by argparse where the flag stands."""
        print(f"mot {version()}")
        parser.exit()


def version() -> str:
    """The version of mot-core that is installed."""
    from importlib.metadata import version

    return version("mot-core")


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """The flag that chooses the rules."""
    from mot_core.io import BENCHMARKS

    names = ", ".join(BENCHMARKS)
    parser.add_argument(
        "--benchmark",
        type=_benchmark,
        default="auto",
        metavar="B",
        help=f"whose layout and rules hold: auto (by the names of folders; the default), {names}; "
        "generic is for your own data",
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
    """The flags that limit the frames."""
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--frames", type=frame_range, metavar="A-B", help="only frames A to B of every sequence, both included"
    )
    window.add_argument(
        "--split",
        choices=["half-val"],
        help="only a part of every sequence: half-val is the second half, as customary for MOT17",
    )


def frame_range(text: str) -> tuple[int, int]:
    """``A-B`` as two frame numbers.

    >>> frame_range("301-600")
    (301, 600)
    """
    match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"expected A-B, two frame numbers with A <= B, got {text!r}")
    return int(match[1]), int(match[2])
