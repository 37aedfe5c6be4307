"""Device and collection of the kernel tests.

They need triton and a separate process, as in `nox -s kernels`; otherwise they are not collected. With a GPU:
``MOT_CORE_KERNELS=triton pytest tests/kernels``. Without one, add ``TRITON_INTERPRET=1`` to run in Triton's
interpreter. The ahead-of-time compilation for GPUs that need not be present runs without ``TRITON_INTERPRET``.
"""

import os
from importlib.util import find_spec

import pytest

collect_ignore_glob = []
if os.environ.get("MOT_CORE_KERNELS") != "triton" or find_spec("triton") is None:
    collect_ignore_glob = ["*.py"]
else:
    import torch

    if os.environ.get("TRITON_INTERPRET") == "1":
        collect_ignore_glob = ["test_ahead_of_time.py"]
    elif not torch.cuda.is_available():
        collect_ignore_glob = ["test_*_kernel.py"]


@pytest.fixture(scope="session")
def device():
    """A GPU, or the CPU for the interpreter."""
    return "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
