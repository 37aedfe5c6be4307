"""Helpers shared by the tests: small trackers, clips, scenes, slow references and two-process scripts."""
