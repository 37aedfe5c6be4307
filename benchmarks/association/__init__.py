"""Trackers of this and other packages on identical detections: speed, memory, quality."""
