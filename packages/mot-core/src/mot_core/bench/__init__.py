"""Benchmarks that users run on their own machine: ``python -m mot_core.bench kernels``."""
