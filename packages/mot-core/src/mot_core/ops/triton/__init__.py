"""Triton source of the kernels: one file per operation, launched by ``mot_core.ops.fused``.

Every kernel computes in ``PRECISION`` and casts other dtypes immediately after loading, because Triton's interpreter,
which the tests use on CPUs, is wrong in bfloat16. Per-call numbers that may change with the images are floats: Triton
compiles again for every integer argument that is 1 or a multiple of 16.
"""

from mot_core.extras import needs

with needs("triton", "triton", "a kernel"):
    import triton  # noqa: F401
