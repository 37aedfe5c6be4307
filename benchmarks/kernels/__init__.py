"""GPU kernels next to their PyTorch references."""
