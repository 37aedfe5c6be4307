"""Declaration of the two operators that torchvision needs to be imported; called by PyTorch at the end of its import.

The wheels of torchvision on the index are built for CUDA. With a CPU build of torch their compiled part does not load,
and ``import torchvision`` fails, as do timm and lightning, because ``nms`` and ``qnms`` have no schema. With the
schemas the Python part works; the operators themselves remain missing. ``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` disables it.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_kept: list[Any] = []
"""References to libraries, because deleting a library removes its operators."""


def declare() -> None:
    """Declare the operators if torch is built for the CPU and torchvision for CUDA."""
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
    """Whether torchvision is a CUDA build, determined without importing it."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"__version__ = ['\"][^'\"]*\+cu", version) is not None
