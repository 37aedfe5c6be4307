"""Configuration of all tests: one thread, and folders of real data and golden numbers."""

import os
from pathlib import Path

import pytest

# Set before torch is imported: most tensors are tiny, so that threads only add overhead.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: this test needs real data, see CONTRIBUTING.md")
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f"{variable}={value} is not a folder; unset it to skip the tests that need it")
    return path


@pytest.fixture(scope="session")
def mot_data() -> Path:
    """Return the folder of real sequences, or skip the test."""
    return _folder("MOT_DATA")


@pytest.fixture(scope="session")
def mot_golden() -> Path:
    """Return the folder of golden numbers of official implementations, or skip the test."""
    return _folder("MOT_GOLDEN")
