"""Which implementation an operation takes: the PyTorch reference or the Triton kernel."""

from __future__ import annotations

import os
from importlib.util import find_spec

from torch import Tensor

from mot_core.extras import needs

# Read once: a compiled graph could not ask again. tests/kernels runs in processes of its own for that.
CHOICE = os.environ.get("MOT_CORE_KERNELS", "")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = find_spec("triton") is not None


def use_kernels(tensor: Tensor) -> bool:
    """Whether an operation on ``tensor`` runs as a Triton kernel.

    It does on a GPU where triton is installed, and on a CPU never, but in Triton's interpreter when both
    ``MOT_CORE_KERNELS=triton`` and ``TRITON_INTERPRET=1`` are set. ``MOT_CORE_KERNELS=reference`` turns kernels off.

    Raises:
        ValueError: ``MOT_CORE_KERNELS`` is neither "reference" nor "triton".
        ImportError: it is "triton", and triton is not installed.

    >>> import torch
    >>> use_kernels(torch.zeros(1))
    False
    """
    if CHOICE not in ("", "reference", "triton"):
        raise ValueError(f"MOT_CORE_KERNELS must be reference or triton, got {CHOICE!r}: correct it or unset it")
    if CHOICE == "reference" or not (tensor.is_cuda or (INTERPRETED and CHOICE == "triton")):
        return False
    if CHOICE == "triton" and not HAS_TRITON:
        with needs("triton", "triton", "MOT_CORE_KERNELS=triton"):
            raise ModuleNotFoundError(name="triton")
    return HAS_TRITON
