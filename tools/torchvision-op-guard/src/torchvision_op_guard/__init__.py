"""Declares the two operators without which torchvision cannot be imported. PyTorch calls it at the end of its import.

The wheels of torchvision on the index are built for CUDA. Beside a CPU build of torch their compiled part does not
load, and ``import torchvision`` fails because ``nms`` and ``qnms`` have no schema, with it timm and lightning. With the
schemas the Python part works; the operators themselves stay missing. ``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` turns it off.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_kept: list[Any] = []
"""A library whose object is gone takes its operators with it."""


def declare() -> None:
    """Declare the operators where torch is built for the CPU and torchvision for CUDA."""
    try:
        import torch

        if torch.version.cuda is not None or torch.version.hip is not None or not _built_for_cuda():
            return
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept.append(library)
    except Exception as error:
        print(f"torchvision-op-guard: {error}")


def _built_for_cuda() -> bool:
    """What torchvision says of itself, without importing it."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"__version__ = ['\"][^'\"]*\+cu", version) is not None
