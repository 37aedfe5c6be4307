"""``mot completion``: code for a shell, which asks ``mot`` for the words that can follow."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mot_core.cli.parser import Parser

EPILOG = """\
examples:
  eval "$(mot completion bash)"                                   in ~/.bashrc
  eval "$(mot completion zsh)"                                    in ~/.zshrc, after compinit
  mot completion fish > ~/.config/fish/completions/mot.fish

Completes commands, flags, and the names of trackers, configs, sweeps, detectors, benchmarks and presets; file names
elsewhere.
"""
SCRIPTS = {
    "bash": """\
_mot() {
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "$(mot completion --words "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" \\
        -- "${COMP_WORDS[COMP_CWORD]}"))
    [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace
    return 0
}
complete -o default -F _mot mot
""",
    "zsh": """\
_mot() {
    local -a found
    found=("${(@f)$(mot completion --words "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
    compadd -a found || _files
}
compdef _mot mot
""",
    "fish": """\
function __mot_words
    set -l given (commandline -opc)
    mot completion --words $given[2..-1] 2>/dev/null
end
complete -c mot -a '(__mot_words)'
""",
}
TRAINING_FLAGS = ("--config", "--model", "--data", "--output", "--ckpt_path", "--print_config", "--help")
"""Flags of the commands that LightningCLI parses, whose parser takes seconds to build."""


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot completion``."""
    parser.epilog = EPILOG
    parser.add_argument("shell", metavar="SHELL", nargs="?", choices=[*SCRIPTS], help="bash, zsh or fish")
    # Called by the code above: words of the command line before the one to complete.
    parser.add_argument("--words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Print the code for a shell, or the words that can follow those of a command line."""
    if arguments.words is not None:
        print("\n".join(next_words(arguments.words)))
    elif arguments.shell is None:
        arguments.usage_error(f"SHELL: expected one of {', '.join(SCRIPTS)}, got none")
    else:
        print(SCRIPTS[arguments.shell], end="")
    return 0


def next_words(words: Sequence[str]) -> list[str]:
    """Return the words that can follow on a command line of ``mot``; empty where only a file can.

    Args:
        words: Complete words after ``mot``.

    >>> next_words(["track", "street.mp4", "--tracker"])[:2]
    ['botsort', 'bytetrack']
    """
    from mot_core.cli import COMMANDS, TRAINING, build_parser, package_commands

    if not words:
        return [*COMMANDS, *package_commands(), "--help", "--version"]
    if words[-1] in NAMES and not (words[0] == "track" and words[-1] == "--config"):
        return [*NAMES[words[-1]]()]
    if words[0] in TRAINING:
        return [*TRAINING_FLAGS, *(["--init"] if words[0] == "fit" else [])]
    if [*words] == ["sweep"]:
        return _configs("sweeps")
    if [*words] == ["configs", "show"]:
        return [*_configs(), *_configs("sweeps")]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            parser = build_parser([*words]).named_by(words)
    except (ValueError, OSError, ImportError, SystemExit):  # such as a misspelled tracker, reported when it runs
        return []
    return _of_parser(parser, words)


def _of_parser(parser: Parser, words: Sequence[str]) -> list[str]:
    """Return choices of the flag at the end, otherwise subcommands, choices of positionals and unused flags."""
    found: list[str] = []
    for action in parser._actions:
        choices: Iterable[Any] = action.choices or ()
        if words[-1] in action.option_strings and action.nargs != 0:
            return [str(one) for one in choices]
        if not action.option_strings and words[-1] not in choices:
            found += map(str, choices)
    unused = [flag for flag in parser.flags() if flag.startswith("--") and flag not in words]
    return [*found, *unused]


def _trackers() -> list[str]:
    from mot_core.association.registry import installed_trackers

    return [*installed_trackers()]


def _detectors() -> list[str]:
    from mot_core.detectors import installed_detectors

    return [f"{kind}:" for kind in installed_detectors()]


def _benchmarks() -> list[str]:
    from mot_core.io import BENCHMARKS

    return ["auto", *BENCHMARKS]


def _configs(kind: str = "configs") -> list[str]:
    from mot_core.cli.fit.configs import shipped_configs

    return [*shipped_configs(kind)]


NAMES: dict[str, Callable[[], list[str]]] = {
    "--tracker": _trackers,
    "--detector": _detectors,
    "--benchmark": _benchmarks,
    "--config": _configs,
}
"""Flags whose values are names that are looked up."""
