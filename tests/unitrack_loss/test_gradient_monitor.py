"""Gradient share and warnings."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from _helpers.unitrack_clips import noisy
from unitrack_loss import UniTrackLoss
from unitrack_loss._gradient_monitor import PATIENCE, GradientMonitor


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_share_equals_the_gradient_norms(scale):
    """With loss scaling, and with a tensor that has other consumers upstream."""
    torch.manual_seed(0)
    body, head = nn.Linear(3, 4), nn.Linear(4, 4)
    x = torch.randn(5, 3)

    def losses():
        hidden = body(x)
        return hidden, head(hidden).square().mean(), (hidden - 1).abs().mean()

    hidden, ours, others = losses()
    monitor = GradientMonitor()
    assert monitor.share is None
    assert monitor.observe(ours, [hidden])
    (scale * (0.3 * ours + others)).backward()
    hidden, ours, others = losses()
    a, b = (torch.autograd.grad(one, hidden)[0].norm() for one in (0.3 * ours, others))
    assert monitor.share.item() == pytest.approx((a / (a + b)).item(), rel=1e-5)


def test_measuring_does_not_change_the_gradient():
    torch.manual_seed(0)
    body = nn.Linear(3, 4)
    gradients = []
    for look in (False, True):
        body.zero_grad()
        hidden = body(torch.ones(2, 3))
        loss = hidden.square().sum()
        if look:
            GradientMonitor().observe(loss, [hidden])
        (loss + hidden.sum()).backward()
        gradients.append(body.weight.grad.clone())
    assert torch.equal(*gradients)


def test_warning_without_gradient():
    x, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    monitor = GradientMonitor()
    assert not monitor.observe(other.sum(), [x * 1])
    assert not monitor.observe((0 * x).sum(), [x])
    assert monitor.observe(x.sum(), [x])
    output = UniTrackLoss("paper")(noisy())
    with pytest.warns(UserWarning, match="unitrack: expected a gradient at the tracker's outputs, got none"):
        monitor.check(output, reached=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.check(output, reached=False)  # warned once
        monitor.check(UniTrackLoss("paper")(noisy(objects=0)), reached=False)  # no correct edges


def test_warning_for_a_non_finite_loss():
    output = replace(UniTrackLoss("paper")(noisy()), total=torch.tensor(torch.inf))
    with pytest.warns(UserWarning, match="unitrack: expected a finite loss, got inf"):
        GradientMonitor().check(output, reached=True)


def test_warning_for_collapsed_flow():
    output = UniTrackLoss("paper")(noisy())
    some, none = replace(output, edge_flow=torch.tensor(0.5)), replace(output, edge_flow=torch.tensor(1e-4))
    monitor = GradientMonitor()
    for one in [none] * (PATIENCE - 1) + [some] + [none] * (PATIENCE - 1):
        monitor.check(one, reached=True)
    with pytest.warns(UserWarning, match="got less than 0.01 in the last 20 measurements"):
        monitor.check(none, reached=True)
