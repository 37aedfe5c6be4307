"""Commands ``mot fdta ...``."""
