"""The Kalman filter kernels against the reference in float64: values and every gradient."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close, with_gradients
from _helpers.kernels.kalman_cases import CASES, F64, make
from mot_core.ops import choice, kalman_filter
from mot_core.ops.fused import kalman as fused

NAMES = ("points", "assoc", "initial", "process_noise", "measurement_noise", "initial_variance")


def moments(inputs, **options):
    named = dict(zip(NAMES, inputs, strict=True))
    result = kalman_filter(named.pop("points"), named.pop("assoc"), named.pop("initial"), dt=0.3, **named, **options)
    return result.mean, result.cov, result.predicted_mean, result.predicted_cov


def both(inputs, monkeypatch, **options):
    """Values and gradients of the kernel, and those of the reference in float64."""
    found = with_gradients(lambda *given: moments(given, **options), inputs)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "CHOICE", "reference")
        wanted = with_gradients(lambda *given: moments(given, **options), [one.double() for one in inputs])
    return found, wanted


@pytest.mark.parametrize("first_update", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name, masked, first_update, device, monkeypatch):
    windows, frames, _, detections, *_ = CASES[name]
    mask = None
    if masked:
        mask = torch.rand(windows, frames, detections, generator=torch.Generator().manual_seed(1)).to(device) < 0.6
    found, wanted = both(make(*CASES[name], device=device), monkeypatch, mask=mask, first_update=first_update)
    assert_close(found, wanted, 1e-11)


def test_float32(device, monkeypatch):
    found, wanted = both(make(*CASES["usual"], dtype=torch.float32, device=device), monkeypatch)
    assert_close(found, wanted, 1e-5)


def test_half_precision_is_computed_in_float32(device, monkeypatch):
    found, wanted = both(make(*CASES["usual"], dtype=torch.float16, device=device), monkeypatch)
    assert_close(found[:4], wanted[:4], 1e-5)
    assert_close(found[4:], wanted[4:], 2e-3)  # gradients are in half precision


def test_padding_values_have_no_effect(device, monkeypatch):
    points, assoc, *rest = make(*CASES["usual"], device=device)
    mask = torch.ones(2, 4, 4, dtype=torch.bool, device=device)
    mask[:, 2] = False  # a frame without detections
    mask[0, :, 3] = False
    points = points.masked_fill(~mask[..., None], float("nan"))
    assoc = assoc.masked_fill(~mask[:, :, None], float("nan"))
    found, wanted = both([points, assoc, *rest], monkeypatch, mask=mask)
    assert_close(found, wanted, 1e-11)


def test_unsupported_cases_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(fused, "forward", None)
    moments(make(1, 2, 2, 0, 1, 2, device=device))
    moments(make(1, 2, 0, 2, 1, 2, device=device))
    moments(make(1, 2, 1, 1, 9, 2, device=device))
    points, assoc, initial, process, _, variance = make(1, 2, 2, 2, 1, 2, device=device)
    noise = torch.ones(1, 2, 2, dtype=F64, device=device)
    moments([points, assoc, initial, process, noise, variance], layout="joint")
    with pytest.raises(TypeError):
        moments(make(*CASES["usual"], device=device))


@pytest.mark.parametrize("masked", [False, True])
def test_operator_registration(masked, device):
    points, assoc, *rest = [one.requires_grad_() for one in make(1, 2, 1, 2, 1, 2, device=device)]
    mask = torch.tensor([[[True, False], [True, True]]], device=device) if masked else None
    torch.library.opcheck(fused.forward, (points, assoc, mask, *rest, 0.5, False))
    points, assoc, _, process, noise, _ = make(1, 2, 1, 2, 1, 2, device=device)
    gradients = [torch.rand(1, 2, 1, 2, size, dtype=F64, device=device) for size in (1, 2, 1, 2)]
    given = points, assoc, mask, process, noise, *gradients[2:]
    torch.library.opcheck(fused.backward, (*gradients, *given, 0.5, False))


def test_compiles_without_breaks(device):
    inputs = make(1, 2, 2, 2, 1, 2, dtype=torch.float32, device=device)
    compiled = torch.compile(lambda *given: moments(given), fullgraph=True, backend="aot_eager")
    assert_close(with_gradients(compiled, inputs), with_gradients(lambda *given: moments(given), inputs), 1e-6)


def test_vmap(device):
    inputs = [torch.stack([one, one + 0.1]) for one in make(1, 2, 2, 2, 1, 2, device=device)]
    found = torch.vmap(lambda *given: moments(given))(*inputs)
    for number in range(2):
        for one, other in zip(found, moments([one[number] for one in inputs]), strict=True):
            torch.testing.assert_close(one[number], other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sizes for a GPU")
def test_training_sizes(monkeypatch):
    inputs = make(1024, 10, 32, 32, 2, 2, dtype=torch.float32, device="cuda")
    assert_close(*both(inputs, monkeypatch), 1e-4)
