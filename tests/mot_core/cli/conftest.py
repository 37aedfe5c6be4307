"""Fixtures: two small sequences, and the `mot` command run in this process."""

from __future__ import annotations

import shutil
from typing import NamedTuple

import pytest
import yaml

from mot_core.cli import main
from mot_core.io import make_scene


class Done(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def clean_scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("generic")
    for seed, name in enumerate(("park", "street")):
        make_scene(seed=seed, num_objects=5, num_frames=40, image_size=(240, 320)).save(root, name)
    return root


@pytest.fixture
def scenes(clean_scenes, tmp_path):
    """A folder with the sequences park and street, 40 frames each, which a test may modify."""
    return shutil.copytree(clean_scenes, tmp_path / "generic")


@pytest.fixture
def mot(capsys, monkeypatch):
    """Run `mot ...` and return exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")  # a fixed line width for help and tables

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def build_config(monkeypatch):
    """Build model, data and Trainer of `mot fit --config NAME ...` without running it."""
    from mot_core.cli.fit.command import TrainingCLI
    from mot_core.cli.fit.configs import find_configs
    from mot_core.cli.fit.quiet import quiet_lightning
    from mot_core.cli.fit.registered import import_registered

    import_registered()
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda *_: None)

    def build(name, *arguments):
        with quiet_lightning():
            cli = TrainingCLI("fit", find_configs(["--config", name, "--trainer.accelerator", "cpu", *arguments]))
        return cli.model, cli.datamodule, cli.trainer

    return build


@pytest.fixture
def write_sweep(tmp_path):
    """Write a sweep file with changed keys."""

    def write(**changes):
        content = {
            "command": ["${env}", "${interpreter}", "mot", "fit", "--config", "motip_synthetic", "${args}"],
            "method": "random",
            "metric": {"name": "val/HOTA", "goal": "maximize"},
            "parameters": {"model.init_args.optimizer.lr": {"min": 0.1, "max": 0.9}},
        }
        path = tmp_path / "search.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return path

    return write
