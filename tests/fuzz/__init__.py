"""Seeded random tests against independent implementations: ``nox -s fuzz -- --minutes 10``."""
