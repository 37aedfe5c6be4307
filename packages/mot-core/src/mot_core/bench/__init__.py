"""Benchmarks for the user's own machine: ``python -m mot_core.bench kernels``."""
