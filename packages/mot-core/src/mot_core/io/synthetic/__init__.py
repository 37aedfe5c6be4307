"""Crowded synthetic scenes with ground truth and detections, for demos and tests."""

from mot_core.io.synthetic.scenes import SyntheticScene, make_scene

__all__ = ["SyntheticScene", "make_scene"]
