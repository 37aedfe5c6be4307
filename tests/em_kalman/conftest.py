"""Modules beside the tests can be imported (pytest runs them with --import-mode=importlib)."""

import sys
from pathlib import Path

import pytest
import torch

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "integration"):
    sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def one_thread():
    """The tensors are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
