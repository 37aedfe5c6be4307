"""Two processes, one without pairs: no deadlock, and the gradient of a single process."""

import pytest
import torch

from _helpers.two_process.launch import launch
from _helpers.two_process.unitrack import SPLITS, Embedder, clips_of, gradient_of_tracker, gradients_of_embedder


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    launch("unitrack", folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_process_with_an_empty_clip(reports):
    """Under DDP, every parameter has a gradient in every step: the mean over processes, one of which has 0."""
    first, second = (gradients_of_embedder(Embedder(), clips_of(rank)) for rank in range(2))
    for step, both in enumerate(zip(*(report["embedder"] for report in reports), first, second, strict=True)):
        for one, other, a, b in zip(*both, strict=True):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, (a + b) / 2)
            assert a.any()
            assert b.any() == (step == 2)


@pytest.mark.slow
@pytest.mark.parametrize("split", range(len(SPLITS)), ids=str)
def test_plugin_averages_over_clips_of_all_processes(reports, split):
    """Also the rivals of other videos are those of all processes."""
    one, (first, second) = gradient_of_tracker([0, 1, 2]), (report["trackers"][split] for report in reports)
    assert any(gradient.any() for gradient in one.values())
    assert any(gradient.any() for gradient in second.values()) == bool(split)
    for name, gradient in one.items():
        mean = (first[name] + second.get(name, torch.zeros(()))) / 2  # as DDP averages
        torch.testing.assert_close(mean, gradient, rtol=1e-3, atol=1e-6 * max(1, gradient.abs().max()), msg=name)
