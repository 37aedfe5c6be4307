"""Configuration of tests and doctests: optional packages, and Hypothesis on loaded machines."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:
    pass
else:
    # A loaded machine must not fail a test: no deadlines, and no check of the time that data generation takes.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

OPTIONAL = {
    *("PIL", "av", "filterpy", "hypothesis", "jsonargparse", "lightning", "matplotlib", "optuna", "pycocotools"),
    *("lightning_utilities", "supervision", "timm", "torchmetrics", "torchvision", "trackeval", "triton", "wandb"),
}
"""Packages of extras and of the development group: modules that need a missing one are skipped."""
MISSING = re.compile(r"ModuleNotFoundError: (?:No module named '(\w+)|.*needs (\w+))")
BROKEN = re.compile(r"ImportError: cannot import name '\w+' from '[\w.]+' \((.+?)\)")
_skipped: dict[Path, str] = {}  # missing package by folder; pytest keeps modules whose import failed in sys.modules


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip modules that cannot be imported because an optional package is missing."""
    report = yield
    if report.failed:
        text = str(report.longrepr)
        names = [next(filter(None, found)) for found in MISSING.findall(text)]
        names += [_skipped[folder] for path in BROKEN.findall(text) if (folder := Path(path).parent) in _skipped]
        if names and names[0] in OPTIONAL:
            _skipped[collector.path.parent] = names[0]
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 0, f"Skipped: needs {names[0]}, which is not installed")
    return report
