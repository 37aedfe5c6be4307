"""Source of the kernels, in Triton: one file per operation, launched by ``mot_core.ops.fused``.

Every kernel computes in ``PRECISION`` and loads other dtypes with a cast at once: Triton's interpreter, which the tests
run on CPUs, is wrong in bfloat16. Numbers that a loop needs once per call are floats where they could change with the
images: an integer that is 1 or a multiple of 16 is compiled for anew.
"""

from mot_core.extras import needs

with needs("triton", "triton", "a kernel"):
    import triton  # noqa: F401
