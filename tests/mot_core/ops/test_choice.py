"""Choice of the implementation of an operation."""

import pytest
import torch

from mot_core.ops import choice


class OnGPU:
    is_cuda = True


CPU = torch.zeros(1)


@pytest.mark.parametrize(
    ("wanted", "interpreted", "installed", "on_gpu", "expected"),
    [
        ("", False, True, True, True),
        ("", False, False, True, False),
        ("", True, True, False, False),
        ("reference", False, True, True, False),
        ("reference", True, True, False, False),
        ("triton", False, True, True, True),
        ("triton", False, True, False, False),
        ("triton", False, False, False, False),
        ("triton", True, True, False, True),
    ],
)
def test_choice(wanted, interpreted, installed, on_gpu, expected, monkeypatch):
    monkeypatch.setattr(choice, "CHOICE", wanted)
    monkeypatch.setattr(choice, "INTERPRETED", interpreted)
    monkeypatch.setattr(choice, "HAS_TRITON", installed)
    assert choice.use_kernels(OnGPU() if on_gpu else CPU) is expected


def test_unknown_choice_is_rejected(monkeypatch):
    monkeypatch.setattr(choice, "CHOICE", "cuda")
    with pytest.raises(ValueError, match="MOT_CORE_KERNELS: expected reference or triton, got 'cuda'"):
        choice.use_kernels(CPU)


def test_missing_triton_is_reported(monkeypatch):
    monkeypatch.setattr(choice, "CHOICE", "triton")
    monkeypatch.setattr(choice, "HAS_TRITON", False)
    with pytest.raises(ImportError, match=r"pip install './packages/mot-core\[triton\]'"):
        choice.use_kernels(OnGPU())
