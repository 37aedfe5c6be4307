"""Robustness: what survives faults of the machine."""
