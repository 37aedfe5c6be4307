"""The `mot` entry point: help, exit codes and start-up."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import mot_core
from mot_core import cli


def test_version(mot):
    assert mot("--version") == (0, f"mot {mot_core.__version__}\n", "")


def test_help_lists_commands_without_importing_them(mot, monkeypatch):
    monkeypatch.setattr(cli, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    done = mot("--help")
    assert done.code == 0
    for name, summary in cli.COMMANDS.items():
        assert name in done.out
        assert summary in done.out


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_of_every_command_has_examples(mot, command):
    done = mot(command, "--help")
    assert done.code == 0
    assert "examples:" in done.out
    assert f"mot {command} " in done.out


@pytest.mark.parametrize("arguments", [[], ["trak"], ["track"], ["--nonsense"]])
def test_wrong_usage_is_reported_in_one_line(mot, arguments):
    done = mot(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("mot")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["track", "x", "--tracker", "sort", "--output", ""], "--output"),
        (["track", "x", "--tracker", "sort", "--output="], "--output"),
        (["track", "", "--tracker", "sort", "--output", "out"], "SOURCE"),
        (["eval", "x", "--gt", "y", "--json", ""], "--json"),
        (["eval", "x", "--gt", "y", "--csv", ""], "--csv"),
        (["sweep", "motip_synthetic", "--output", ""], "--output"),
        (["data", "check", "x", "--json", ""], "--json"),
        (["import", "x", "", "--tracker", "motip"], "OUT"),
        (["import", "x", "y", "--tracker", "motip", "--report", ""], "--report"),
        (["bench", "kernels", "--json", ""], "--json"),
        (["em-kalman", "learn-motion", "x", "--checkpoint", "y", "--output", ""], "--output"),
    ],
)
def test_empty_arguments_are_rejected(mot, arguments, name):
    done = mot(*arguments)
    assert done.code == 2
    assert f": error: argument {name}: expected a value, got an empty string (see mot " in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", list(cli.TRAINING))
def test_empty_output_of_training_commands(mot, command):
    done = mot(command, "--config", "motip_synthetic", "--output", "")
    assert (done.code, done.err) == (1, "mot: error: --output: expected a folder, got an empty name\n")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("the box is too big"), 1, "mot: error: the box is too big\n"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), 1, "a.txt: No such file or directory\n"),
        (OSError(28, "No space left on device"), 1, "mot: error: No space left on device\n"),
        (ModuleNotFoundError("run: pip install x"), 1, "mot: error: run: pip install x\n"),
        (KeyboardInterrupt(), 130, "mot: interrupted\n"),
        (KeyboardInterrupt("2 of 3 are kept"), 130, "mot: interrupted: 2 of 3 are kept\n"),
    ],
)
def test_exceptions_become_a_message_and_an_exit_code(mot, monkeypatch, error, code, words):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    done = mot("track")
    assert done.code == code
    assert done.err.endswith(words)


def test_tracebacks_of_debug_mode_and_unexpected_errors(mot, monkeypatch):
    monkeypatch.setenv("MOT_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        mot("track", "nowhere", "--tracker", "sort", "--output", "out")
    monkeypatch.delenv("MOT_DEBUG")
    monkeypatch.setattr(cli, "_run", lambda arguments: {}["a bug"])
    with pytest.raises(KeyError):
        mot("track")


def test_every_command_is_a_module():
    for name in cli.COMMANDS.keys() - cli.TRAINING.keys():
        assert callable(importlib.import_module(cli.module_of(name)).configure)


@pytest.mark.parametrize("command", ["--help", "eval --help", "track --tracker sort --help"])
def test_startup_imports_no_heavy_libraries(command):
    code = (
        "import sys; from mot_core.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'lightning', 'torchmetrics', 'matplotlib', 'av', 'trackeval'} & set(sys.modules); "
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_closed_pipe_is_not_an_error():
    code = (
        "import sys; from mot_core import cli\n"
        "cli._run = lambda arguments: print('x' * 10_000_000) or sys.stdout.flush() or 0\n"
        "sys.exit(cli.main(['track']))"
    )
    script = ["bash", "-o", "pipefail", "-c", f'{sys.executable} -c "$0" | head -c 1', code]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x", "")
