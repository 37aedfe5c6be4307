"""Two processes: equal heads after training, and the gradient of one process with all clips."""

import pytest
import torch
from torch import optim

from _helpers.two_process.fdta import gradients_of_tracker, make_adapter, samples
from _helpers.two_process.launch import launch


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    launch("fdta", folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_gathered_head_equals_that_of_one_process(reports):
    adapter = make_adapter(gather=False)
    optimizer = optim.SGD(adapter.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        loss = adapter(*samples()).loss
        loss.backward()
        optimizer.step()
        for report in reports:
            assert report["losses"][step] == pytest.approx(loss.item(), rel=1e-9)
            for found, parameter in zip(report["gradients"][step], adapter.parameters(), strict=True):
                torch.testing.assert_close(found, parameter.grad)
    for one, other, parameter in zip(*(report["head"] for report in reports), adapter.parameters(), strict=True):
        assert torch.equal(one, other), "every process has the same head"
        torch.testing.assert_close(one, parameter.detach())


@pytest.mark.slow
def test_gradients_of_a_tracker_equal_those_of_one_process(reports):
    whole = gradients_of_tracker([0, 1])
    first, second = (report["tracker"] for report in reports)
    for name, gradient in whole.items():
        zero = torch.zeros_like(gradient)  # of a parameter that only the tracker's own losses reach
        mean = (first.get(name, zero) + second.get(name, zero)) / 2  # as DDP averages
        torch.testing.assert_close(mean, gradient, rtol=0, atol=5e-4 * max(0.1, gradient.abs().max()), msg=name)
    assert any("fdta_spatial" in name and gradient.any() for name, gradient in whole.items())
    assert any("fdta_identity" in name and gradient.any() for name, gradient in whole.items())
    own = {name for name in whole if name.startswith("plugins.")}
    assert own <= first.keys() & second.keys(), "DDP needs a gradient of every parameter in every process"
