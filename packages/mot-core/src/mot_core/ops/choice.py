"""Choice of the implementation of an operation: PyTorch reference or Triton kernel."""

from __future__ import annotations

import os
from importlib.util import find_spec

from torch import Tensor

from mot_core.extras import needs

# Read once, because a compiled graph cannot read it again; tests/kernels therefore runs in its own processes.
CHOICE = os.environ.get("MOT_CORE_KERNELS", "")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = find_spec("triton") is not None


def use_kernels(tensor: Tensor) -> bool:
    """Return whether an operation on ``tensor`` runs as a Triton kernel.

    Kernels run on GPUs if triton is installed. On CPUs they run only in Triton's interpreter, if both
    ``MOT_CORE_KERNELS=triton`` and ``TRITON_INTERPRET=1`` are set. ``MOT_CORE_KERNELS=reference`` disables kernels.

    Raises:
        ValueError: If ``MOT_CORE_KERNELS`` is neither "reference" nor "triton".
        ImportError: If ``MOT_CORE_KERNELS`` is "triton" and triton is not installed.

    >>> import torch
    >>> use_kernels(torch.zeros(1))
    False
    """
    if CHOICE not in ("", "reference", "triton"):
        raise ValueError(f"MOT_CORE_KERNELS: expected reference or triton, got {CHOICE!r}; correct or unset it")
    if CHOICE == "reference" or not (tensor.is_cuda or (INTERPRETED and CHOICE == "triton")):
        return False
    if CHOICE == "triton" and not HAS_TRITON:
        with needs("triton", "triton", "MOT_CORE_KERNELS=triton"):
            raise ModuleNotFoundError(name="triton")
    return HAS_TRITON
