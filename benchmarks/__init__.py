"""Benchmarks by topic; README.md lists question, script, result and page."""
