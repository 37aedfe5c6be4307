"""Deformable DETR: attention, encoder, decoder, detector, matcher and criterion. Import from ``mot_core.nn``."""
