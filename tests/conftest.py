"""For all tests: one thread, and where the real data and the golden numbers are."""

import os
from pathlib import Path

import pytest

# Before anything imports torch: most tensors are tiny, and threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: this test needs the real data (CONTRIBUTING.md tells what it is)")
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f"{variable}={value} is not a folder; unset it to skip the tests that need it")
    return path


@pytest.fixture(scope="session")
def mot_data() -> Path:
    """The folder of real sequences, or skip."""
    return _folder("MOT_DATA")


@pytest.fixture(scope="session")
def mot_golden() -> Path:
    """The folder of golden numbers of official implementations, or skip."""
    return _folder("MOT_GOLDEN")
