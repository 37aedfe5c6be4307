"""Reports of trainings in one and two processes, and their comparison."""

import pytest
import torch

from _helpers.two_process.launch import launch


def reports_of(module, trackers, folder):
    """Run a module of this package, and return the reports of "one", "first" and "second" process by tracker."""
    launch(module, folder)
    names = {"one": "1-0", "first": "2-0", "second": "2-1"}
    return {
        tracker: {key: torch.load(folder / tracker / f"{name}.pt", weights_only=True) for key, name in names.items()}
        for tracker in trackers
    }


def check_equal(one, first, second):
    """Check losses and weights; in float64 they differ by rounding only, which Adam amplifies for tiny gradients."""
    assert first["losses"] != second["losses"], "the processes have different clips"
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert mean == pytest.approx(one["losses"], rel=1e-9)
    for name, weight in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-9, atol=1e-9, msg=name)
