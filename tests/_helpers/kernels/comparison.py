"""Values and gradients of a kernel compared with those of the reference."""

import torch


def with_gradients(function, inputs, seed=0):
    """Return ``function(*inputs)`` and the gradients of a random sum of the results, in float64 on the CPU.

    Inputs that are None or not floating point have no gradient.
    """
    inputs = [leaf(one) for one in inputs]
    results = function(*inputs)
    results = [results] if isinstance(results, torch.Tensor) else list(results)
    generator = torch.Generator().manual_seed(seed)
    # Multiples of 1/8, so that the upstream gradient is exact in every precision.
    weights = [torch.randint(-3, 6, one.shape, generator=generator) / 8 for one in results]
    total = sum(
        (one.double() * weight.to(one.device, torch.float64)).sum()
        for one, weight in zip(results, weights, strict=True)
    )
    leaves = [one for one in inputs if differentiable(one)]
    gradients = torch.autograd.grad(total, leaves, materialize_grads=True)
    assert [one.dtype for one in gradients] == [one.dtype for one in leaves]
    return [one.detach().double().cpu() for one in (*results, *gradients)]


def leaf(one):
    return one.detach().requires_grad_() if differentiable(one) else one


def differentiable(one):
    return isinstance(one, torch.Tensor) and one.is_floating_point()


def assert_close(found, wanted, tolerance):
    """Compare by the relative norm of the difference, and element by element relative to the largest."""
    assert len(found) == len(wanted)
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.shape == other.shape
        assert one.isfinite().all(), f"tensor {number} is not finite"
        if not one.numel():
            continue
        error, size = (one - other).norm(), other.norm()
        assert error <= tolerance * size + 1e-12, f"tensor {number} is off by {error:.3g} of {size:.3g}"
        torch.testing.assert_close(
            one, other, rtol=tolerance, atol=tolerance * float(other.abs().amax().clamp(min=1e-3))
        )
