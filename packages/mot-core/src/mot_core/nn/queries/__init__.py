"""Identity modules on top of a detector: query interaction, ID decoder, memory. Import from ``mot_core.nn``."""
