import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core.ops import sinkhorn

F64 = torch.float64


def randn(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(logits, num_iters, dustbin=None):
    """Scale the exponentials in loops in float64: rows, then columns."""
    weights = [[math.exp(x) for x in row] for row in logits.tolist()]
    rows, columns = len(weights), len(weights[0])
    row_sums, column_sums = [1.0] * rows, [1.0] * columns
    if dustbin is not None:
        bin_weight = math.exp(dustbin)
        weights = [[*row, bin_weight] for row in weights] + [[bin_weight] * (columns + 1)]
        row_sums, column_sums = [*row_sums, columns], [*column_sums, rows]
    for _ in range(num_iters):
        weights = [[x * wanted / sum(row) for x in row] for row, wanted in zip(weights, row_sums, strict=True)]
        sums = [sum(column) for column in zip(*weights, strict=True)]
        weights = [[x * w / s for x, w, s in zip(row, column_sums, sums, strict=True)] for row in weights]
    return torch.tensor(weights, dtype=F64)


@pytest.mark.parametrize(("shape", "dustbin"), [((4, 4), None), ((3, 5), 0.4), ((5, 2), -1.0), ((1, 1), 0.0)])
def test_equals_plain_scaling(shape, dustbin):
    logits = 2 * randn(*shape)
    place = None if dustbin is None else torch.tensor(dustbin, dtype=F64)
    found = sinkhorn(logits, num_iters=7, dustbin=place).exp()
    torch.testing.assert_close(found, plain(logits, 7, dustbin), rtol=1e-12, atol=1e-14)


@given(st.integers(1, 9), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_square_sums(size, seed):
    plan = sinkhorn(randn(size, size, seed=seed)).exp()
    torch.testing.assert_close(plan.sum(-2), torch.ones(size, dtype=F64), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(-1), torch.ones(size, dtype=F64), rtol=0, atol=1e-3)
    rows_last = sinkhorn(randn(size, size, seed=seed), last="row").exp()
    torch.testing.assert_close(rows_last.sum(-1), torch.ones(size, dtype=F64), rtol=0, atol=1e-6)


def test_tolerance_is_reached_early():
    logits = 3 * randn(2, 8, 8)
    plan = sinkhorn(logits, num_iters=5000, tolerance=1e-4).exp()
    assert (plan.sum(-1) - 1).abs().max() < 1e-4
    assert not torch.equal(plan, sinkhorn(logits, num_iters=5000).exp())


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_dustbin_sums_are_counts(rows, columns, seed):
    plan = sinkhorn(randn(rows, columns, seed=seed), num_iters=300, dustbin=torch.tensor(0.3, dtype=F64)).exp()
    assert plan.shape == (rows + 1, columns + 1)
    wanted_rows = torch.tensor([1.0] * rows + [columns], dtype=F64)
    wanted_columns = torch.tensor([1.0] * columns + [rows], dtype=F64)
    torch.testing.assert_close(plan.sum(-1), wanted_rows, rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(-2), wanted_columns, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dustbin", [None, torch.tensor(0.2, dtype=F64)])
def test_permutation_equivariance_and_shift_invariance(dustbin):
    logits, rows, columns = randn(5, 5), torch.randperm(5), torch.randperm(5)
    plan, moved = sinkhorn(logits, dustbin=dustbin), sinkhorn(logits[rows][:, columns], dustbin=dustbin)
    torch.testing.assert_close(moved[:5, :5], plan[rows][:, columns])
    if dustbin is None:
        shifted = sinkhorn(logits + randn(5, 1, seed=1) + randn(1, 5, seed=2), num_iters=200)
        torch.testing.assert_close(shifted, sinkhorn(logits, num_iters=200))


@pytest.mark.parametrize("backward", ["unrolled", "implicit"])
@pytest.mark.parametrize("dustbin", [None, torch.tensor(0.2, dtype=F64)])
def test_masked_rows_and_columns_have_no_effect(backward, dustbin):
    logits = randn(2, 6, 6).requires_grad_()
    mask = torch.tensor([True, True, False, True, True, False])
    masks = {"row_mask": mask.expand(2, 6), "column_mask": mask.flip(0).expand(2, 6)}
    found = sinkhorn(logits, dustbin=dustbin, backward=backward, **masks)
    small = logits[:, mask][:, :, mask.flip(0)]
    wanted = sinkhorn(small, dustbin=dustbin, backward=backward)
    keep = torch.cat([mask, torch.ones(int(dustbin is not None), dtype=torch.bool)])
    keep_columns = torch.cat([mask.flip(0), keep[6:]])
    torch.testing.assert_close(found[:, keep][:, :, keep_columns], wanted)
    assert (found[:, ~keep] == -1e9).all()
    weights = randn(*wanted.shape, seed=3)
    (gradient,) = torch.autograd.grad((found[:, keep][:, :, keep_columns] * weights).sum(), logits, retain_graph=True)
    (expected,) = torch.autograd.grad((wanted * weights).sum(), logits)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("backward", ["unrolled", "implicit"])
def test_gradients_are_finite_without_partners(backward):
    logits, dustbin = randn(3, 4, 2).requires_grad_(), torch.tensor(0.1, dtype=F64, requires_grad=True)
    none = torch.zeros(3, 4, dtype=torch.bool)
    some = torch.tensor([[True, False], [True, True], [False, False]])
    plan = sinkhorn(logits, dustbin=dustbin, row_mask=none, column_mask=some, backward=backward).exp()
    torch.testing.assert_close(plan[:, -1, :2], some.to(F64))
    assert plan[:, :4].sum() == 0
    plan.sum().backward()
    assert logits.grad.isfinite().all()
    assert dustbin.grad.isfinite()
    assert sinkhorn(torch.zeros(2, 0, 3)).shape == (2, 0, 3)


@pytest.mark.parametrize("with_dustbin", [False, True])
def test_implicit_gradient_equals_converged_unrolled_gradient(with_dustbin):
    logits = (2 * randn(2, 5, 5 - with_dustbin)).requires_grad_()
    dustbin = torch.tensor(0.3, dtype=F64, requires_grad=True) if with_dustbin else None
    inputs = [logits, dustbin] if with_dustbin else [logits]
    gradients = []
    for backward in ("unrolled", "implicit"):
        plan = sinkhorn(logits, num_iters=3000, dustbin=dustbin, backward=backward)
        gradients.append(torch.autograd.grad((plan * randn(*plan.shape, seed=1)).sum(), inputs))
    for unrolled, implicit in zip(*gradients, strict=True):
        torch.testing.assert_close(implicit, unrolled, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("backward", "num_iters"), [("unrolled", 6), ("implicit", 400)])
def test_gradcheck(backward, num_iters):
    logits, dustbin = randn(3, 4).requires_grad_(), torch.tensor(0.3, dtype=F64, requires_grad=True)
    mask = torch.tensor([True, False, True])

    def plan(x, z):
        return sinkhorn(x, dustbin=z, num_iters=num_iters, row_mask=mask, backward=backward)[[*mask.tolist(), True]]

    assert torch.autograd.gradcheck(plan, (logits, dustbin))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = randn(4, 4).to(dtype).requires_grad_()
    plan = sinkhorn(logits)
    assert plan.dtype == torch.float32
    torch.testing.assert_close(plan, sinkhorn(logits.float()))
    plan.exp()[0, 0].backward()
    assert logits.grad.dtype == dtype


def test_large_logits_stay_finite():
    logits = (1e4 * randn(6, 6, dtype=torch.float32)).requires_grad_()
    plan = sinkhorn(logits, dustbin=torch.tensor(0.0))
    plan.exp().sum().backward()
    assert plan.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_iters": 0}, "num_iters must be at least 1"),
        ({"temperature": 0.0}, "temperature more than 0"),
        ({"last": "rows"}, "last must be row or column"),
        ({"row_mask": torch.ones(3, dtype=torch.bool)}, r"row_mask must have shape \(2,\), got \(3,\)"),
        ({"dustbin": torch.zeros(2)}, "one number"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        sinkhorn(torch.zeros(2, 3), **arguments)
