"""The Sinkhorn kernels against the reference in float64: values and every gradient."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close, with_gradients
from mot_core.ops import sinkhorn
from mot_core.ops.fused import sinkhorn as fused
from mot_core.ops.sinkhorn import reference

F64 = torch.float64


def randn(*shape, seed=0, dtype=F64, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(device, dtype)


def random_mask(*shape, seed=1, device="cpu"):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.7).to(device)


def both(logits, dustbin=None, row_mask=None, column_mask=None, num_iters=5, temperature=1.0, last="column"):
    """Values and gradients of the kernel, and those of the reference in float64."""
    masks = {"row_mask": row_mask, "column_mask": column_mask}
    found = with_gradients(
        lambda x, z: sinkhorn(x, dustbin=z, num_iters=num_iters, temperature=temperature, last=last, **masks),
        [logits, dustbin],
    )
    wanted = with_gradients(
        lambda x, z: reference(x, temperature, z, row_mask, column_mask, num_iters, last),
        [logits.double(), None if dustbin is None else dustbin.double()],
    )
    return found, wanted


@pytest.mark.parametrize("last", ["row", "column"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_dustbin", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 4, 4), (1, 3, 33)])
def test_equals_the_reference(shape, with_dustbin, masked, last, device):
    logits = 2 * randn(*shape, device=device)
    dustbin = torch.tensor(0.4, dtype=F64, device=device) if with_dustbin else None
    rows = random_mask(*shape[:2], device=device) if masked else None
    columns = random_mask(shape[0], shape[2], seed=2, device=device) if masked else None
    assert_close(*both(logits, dustbin, rows, columns, last=last), 1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)])
def test_precisions(dtype, tolerance, device):
    dustbin = torch.tensor(0.25, dtype=torch.float32, device=device)
    found, wanted = both(2 * randn(2, 5, 6, dtype=dtype, device=device), dustbin, num_iters=20)
    assert_close(found, wanted, tolerance)
    assert_close(found[:1], wanted[:1], 1e-5)  # only the gradient is rounded to half precision


@pytest.mark.parametrize("last", ["row", "column"])
def test_several_blocks_of_rows(last, device, monkeypatch):
    monkeypatch.setattr(fused, "TILE", 32)
    dustbin = torch.tensor(0.4, dtype=F64, device=device)
    masks = random_mask(1, 13, device=device), random_mask(1, 7, seed=2, device=device)
    assert_close(*both(2 * randn(1, 13, 7, device=device), dustbin, *masks, num_iters=3, last=last), 1e-11)


def test_temperature_and_one_mask(device):
    mask = random_mask(2, 6, device=device)
    assert_close(*both(randn(2, 5, 6, device=device), None, None, mask, temperature=0.3), 1e-11)
    assert_close(*both(randn(2, 6, 5, device=device), None, mask, None, temperature=0.3), 1e-11)


def test_arbitrary_leading_dimensions_and_strides(device):
    logits = randn(2, 6, 3, 5, device=device).transpose(1, 3)  # (2, 5, 3, 6)
    mask = random_mask(2, 5, 3, device=device)
    assert_close(*both(logits, None, mask, None), 1e-11)
    assert_close(*both(logits[0, 0].t(), None, None, mask[0, 0]), 1e-11)


@pytest.mark.parametrize("with_dustbin", [False, True])
def test_gradients_are_finite_without_partners(with_dustbin, device):
    logits = randn(4, 4, 2, dtype=torch.float32, device=device)
    dustbin = torch.tensor(0.1, device=device) if with_dustbin else None
    rows = torch.tensor([[0] * 4, [0] * 4, [1] * 4, [0, 1, 1, 0]], device=device).bool()
    columns = torch.tensor([[0, 0], [1, 1], [0, 0], [0, 1]], device=device).bool()
    found, wanted = both(logits, dustbin, rows, columns)
    assert_close(found, wanted, 1e-5)
    assert (found[0][0, :4] == -1e9).all()


def test_large_logits_stay_finite(device):
    found, wanted = both(1e4 * randn(1, 6, 6, dtype=torch.float32, device=device), torch.tensor(0.0, device=device))
    assert all(one.isfinite().all() for one in found)
    # Values of 1e4 have a precision of 1e-3 in float32.
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize("last", ["row", "column"])
def test_sums_are_exact_where_scaled_last(last, device):
    plan = sinkhorn(3 * randn(2, 9, 9, dtype=torch.float32, device=device), last=last).exp()
    torch.testing.assert_close(plan.sum(-1 if last == "row" else -2), torch.ones(2, 9, device=device))


def test_unsupported_cases_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(fused, "forward", None)
    sinkhorn(randn(1, 2, 2049, device=device), num_iters=2)
    sinkhorn(randn(3, 3, device=device), tolerance=1e-3)
    sinkhorn(randn(3, 3, device=device), backward="implicit")
    assert sinkhorn(torch.zeros(2, 0, 3, device=device)).shape == (2, 0, 3)
    with pytest.raises(TypeError):
        sinkhorn(randn(3, 3, device=device))


@pytest.mark.parametrize("masked", [False, True])
def test_operator_registration(masked, device):
    logits = randn(2, 2, 3, device=device)
    mask = random_mask(2, 2, device=device) if masked else None
    dustbin = randn(2, device=device) if masked else None
    plan, *potentials = fused.forward(logits, dustbin, mask, None, 3)
    torch.library.opcheck(fused.backward, (plan, *potentials, logits, dustbin, mask, None, 3))
    leaves = [None if one is None else one.requires_grad_() for one in (logits, dustbin)]
    torch.library.opcheck(fused.forward, (*leaves, mask, None, 3))


def test_compiles_without_breaks(device):
    inputs = [randn(2, 3, 4, dtype=torch.float32, device=device), torch.tensor(0.3, device=device)]
    mask = random_mask(2, 3, device=device)

    def plan(x, z):
        return sinkhorn(x, dustbin=z, row_mask=mask, num_iters=4, last="row", temperature=0.5)

    compiled = torch.compile(plan, fullgraph=True, backend="aot_eager")
    assert_close(with_gradients(compiled, inputs), with_gradients(plan, inputs), 1e-6)


def test_vmap(device):
    logits, mask = randn(3, 2, 4, 3, device=device), random_mask(3, 2, 4, device=device)
    dustbin = torch.tensor(0.3, dtype=F64, device=device)
    found = torch.vmap(lambda x, m: sinkhorn(x, dustbin=dustbin, row_mask=m, num_iters=3))(logits, mask)
    torch.testing.assert_close(found, sinkhorn(logits, dustbin=dustbin, row_mask=mask, num_iters=3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sizes for a GPU")
@pytest.mark.parametrize("size", [40, 100, 127, 300])
def test_crowd_sizes(size):
    logits = 3 * randn(32, size, size, dtype=torch.float32, device="cuda")
    mask = random_mask(32, size, device="cuda")
    assert_close(*both(logits, torch.tensor(0.5, device="cuda"), mask, mask, num_iters=20), 2e-4)
