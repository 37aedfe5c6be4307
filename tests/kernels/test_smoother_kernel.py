"""The smoother kernels against the reference in float64: values and every gradient."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close, with_gradients
from _helpers.kernels.kalman_cases import CASES, make
from mot_core.ops import FilterResult, choice, kalman_filter, rts_smoother
from mot_core.ops.fused import smoother as fused

F64 = torch.float64


def filtered(name, device="cpu", dtype=F64, *, known=False):
    """Moments of a reference filter; with ``known``, some objects have zero variance of position, velocity, or both."""
    points, assoc, initial, process, noise, variance = make(*CASES[name], device=device, dtype=dtype)
    if known:
        for each in (process, variance):
            each[:, 0, 0] = each[:, 1, 1] = each[:, 2] = 0
    before, choice.CHOICE = choice.CHOICE, "reference"
    try:
        result = kalman_filter(
            points, assoc, initial, dt=0.3, process_noise=process, measurement_noise=noise, initial_variance=variance
        )
    finally:
        choice.CHOICE = before
    return [result.mean, result.cov, result.predicted_mean, result.predicted_cov]


def smoothed(mean, cov, predicted_mean, predicted_cov):
    """The off-diagonal entries of a covariance are one number to the filter, so their gradients are added."""
    cov, predicted_cov = ((one + one.transpose(-1, -2)) / 2 for one in (cov, predicted_cov))
    result = rts_smoother(FilterResult(mean, cov, predicted_mean, predicted_cov, 0.3))
    return result.mean, result.cov


def both(inputs, monkeypatch):
    found = with_gradients(smoothed, inputs)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "CHOICE", "reference")
        wanted = with_gradients(smoothed, [one.double() for one in inputs])
    return found, wanted


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, device, monkeypatch):
    assert_close(*both(filtered(name, device), monkeypatch), 1e-10)


def test_zero_variances(device, monkeypatch):
    found, wanted = both(filtered("usual", device, known=True), monkeypatch)
    assert all(one.isfinite().all() for one in found)
    assert_close(found, wanted, 1e-10)


def test_float32(device, monkeypatch):
    assert_close(*both(filtered("usual", device, torch.float32), monkeypatch), 1e-4)


def test_unsupported_cases_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(fused, "forward", None)
    points, assoc, initial, process, _, variance = make(1, 2, 2, 2, 1, 2, device=device)
    noise = torch.ones(1, 2, 2, dtype=F64, device=device)
    options = {"process_noise": process, "measurement_noise": noise, "initial_variance": variance}
    rts_smoother(kalman_filter(points, assoc, initial, layout="joint", **options))
    with pytest.raises(TypeError):
        smoothed(*filtered("usual", device))


def test_operator_registration(device):
    inputs = filtered("one-of-all", device)
    results = fused.forward(*inputs, 0.3)
    torch.library.opcheck(fused.backward, (*results, *inputs, *results, 0.3))
    torch.library.opcheck(fused.forward, (*(one.clone().requires_grad_() for one in inputs), 0.3))


def test_compiles_without_breaks(device):
    inputs = filtered("usual", device, torch.float32)
    compiled = torch.compile(smoothed, fullgraph=True, backend="aot_eager")
    assert_close(with_gradients(compiled, inputs), with_gradients(smoothed, inputs), 1e-5)


def test_vmap(device):
    inputs = filtered("usual", device)
    found = torch.vmap(smoothed)(*(torch.stack([one, one]) for one in inputs))
    for one, other in zip(found, smoothed(*inputs), strict=True):
        torch.testing.assert_close(one[1], other)
