"""The guard declares missing operators only; torchvision is not installed in this environment."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

SOURCE = Path(__file__).parents[2] / "tools" / "torchvision-op-guard" / "src"


@pytest.fixture
def guard(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCE))
    import torchvision_op_guard

    yield torchvision_op_guard
    torchvision_op_guard._kept.clear()
    del sys.modules["torchvision_op_guard"]


def pretend(monkeypatch, guard, folder, version):
    (folder / "version.py").write_text(f"__version__ = '{version}'\n")
    spec = ModuleSpec("torchvision", None, origin=str(folder / "__init__.py"))
    monkeypatch.setattr(guard, "find_spec", lambda name: spec)


def test_no_effect_without_torchvision(guard):
    guard.declare()
    assert not guard._kept


@pytest.mark.parametrize(("version", "declared"), [("0.28.0+cu130", True), ("0.28.0+cpu", False), ("0.28.0", False)])
def test_operators_of_cuda_builds_are_declared(guard, monkeypatch, tmp_path, version, declared):
    monkeypatch.setattr(torch.version, "cuda", None)
    pretend(monkeypatch, guard, tmp_path, version)
    guard.declare()
    assert bool(guard._kept) == declared
    assert hasattr(torch.ops.torchvision, "qnms") == declared


def test_errors_do_not_break_torch(guard, monkeypatch, tmp_path, capsys):
    spec = ModuleSpec("torchvision", None, origin=str(tmp_path / "gone" / "__init__.py"))
    monkeypatch.setattr(guard, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch.version, "cuda", None)
    guard.declare()
    assert "torchvision-op-guard: " in capsys.readouterr().out
