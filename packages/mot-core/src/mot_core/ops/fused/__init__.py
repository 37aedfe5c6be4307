"""PyTorch operations around the kernels: registration, gradients, launch. Triton is imported at the first launch."""
