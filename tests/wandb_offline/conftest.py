"""Configuration of the tests with wandb: nothing asks for an account, and only `nox -s tests_wandb` runs them."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def offline():
    """Write runs to files only, and print nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_PROJECT", "WANDB_DIR", "WANDB_SWEEP_ID"):
            patch.delenv(name, raising=False)
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
            patch.setenv(name, os.environ.get(name, "0"))
        for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}.items():
            patch.setenv(name, value)
        yield
