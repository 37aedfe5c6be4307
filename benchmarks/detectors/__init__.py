"""Detectors in front of a tracker, on a video that anyone can fetch."""
