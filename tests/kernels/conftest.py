"""Where the tests of the kernels run, and on what.

They need triton and a process of their own, which `nox -s kernels` gives them; elsewhere they are not even collected.
With a GPU: ``MOT_CORE_KERNELS=triton pytest tests/kernels``. Without one: the same in Triton's interpreter, with
``TRITON_INTERPRET=1`` besides. The compilation for GPUs that need not be there runs without ``TRITON_INTERPRET``.
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
