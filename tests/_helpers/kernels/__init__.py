"""Cases, comparison and ahead-of-time compilation of the GPU kernels."""
