"""The FDTA adapters: cost."""
