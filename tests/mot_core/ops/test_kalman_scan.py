"""Filter and smoother against the associative scan of Särkkä and García-Fernández (2021, arXiv:1905.13002).

The scan joins the moments of neighboring time intervals pairwise, as a tree, without carrying them frame by frame.
"""

import pytest
import torch

from mot_core.ops import kalman_filter, rts_smoother

F64 = torch.float64
STEP, Q, R = torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=F64), torch.diag(torch.tensor([0.3, 0.7], dtype=F64)), 1.7
LOOK = torch.tensor([[1.0, 0.0]], dtype=F64)
EYE = torch.eye(2, dtype=F64)


def tree(elements, combine):
    """Return all prefixes of an associative operation: those of pairs first, then the elements between."""
    if len(elements) == 1:
        return elements
    pairs = tree([combine(a, b) for a, b in zip(elements[::2], elements[1::2], strict=False)], combine)
    rest = [pairs[i // 2] if i % 2 else combine(pairs[i // 2 - 1], elements[i]) for i in range(1, len(elements))]
    return [elements[0], *rest]


def filtered(points, seen, mean, cov):
    """Means and covariances of all frames; frame 0 is not measured."""
    elements = [(torch.zeros(2, 2, dtype=F64), mean, cov, torch.zeros(2, 1, dtype=F64), torch.zeros(2, 2, dtype=F64))]
    innovation = (LOOK @ Q @ LOOK.T + R).item()
    gain = Q @ LOOK.T / innovation
    for z, here in list(zip(points, seen, strict=True))[1:]:
        if here:
            keep = EYE - gain @ LOOK
            eta, info = STEP.T @ LOOK.T * z / innovation, STEP.T @ LOOK.T @ LOOK @ STEP / innovation
            elements.append((keep @ STEP, gain * z, keep @ Q, eta, info))
        else:
            elements.append((STEP, 0 * mean, Q, 0 * mean, 0 * cov))

    def combine(one, two):
        a1, b1, c1, eta1, j1 = one
        a2, b2, c2, eta2, j2 = two
        left, right = a2 @ torch.linalg.inv(EYE + c1 @ j2), a1.T @ torch.linalg.inv(EYE + j2 @ c1)
        return (
            left @ a1,
            left @ (b1 + c1 @ eta2) + b2,
            left @ c1 @ a2.T + c2,
            right @ (eta2 - j2 @ b1) + eta1,
            right @ j2 @ a1 + j1,
        )

    return [(b, c) for _, b, c, _, _ in tree(elements, combine)]


def smoothed(moments):
    elements = []
    for m, s in moments[:-1]:
        gain = torch.linalg.solve(STEP @ s @ STEP.T + Q, STEP @ s).T
        elements.append((gain, m - gain @ STEP @ m, s - gain @ STEP @ s))
    elements.append((torch.zeros(2, 2, dtype=F64), *moments[-1]))

    def combine(later, earlier):  # backwards
        e1, g1, l1 = earlier
        e2, g2, l2 = later
        return e1 @ e2, e1 @ g2 + g1, e1 @ l2 @ e1.T + l1

    return [(g, s) for _, g, s in tree(elements[::-1], combine)][::-1]


@pytest.mark.parametrize("frames", [2, 7, 64])
def test_equals_associative_scan(frames):
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(frames, generator=rng, dtype=F64).cumsum(0) * 5
    seen = torch.rand(frames, generator=rng) > 0.3
    seen[0] = True
    result = kalman_filter(
        points.view(1, frames, 1, 1),
        seen.view(1, frames, 1, 1).to(F64),
        points[:1].view(1, 1, 1),
        process_noise=Q.diagonal().view(1, 1, 2),
        measurement_noise=torch.full((1, 1), R, dtype=F64),
        initial_variance=torch.tensor([[[4.0, 2.0]]], dtype=F64),
        dt=0.5,
    )
    start = torch.stack([points[:1], torch.zeros(1, dtype=F64)])
    wanted = filtered(points, seen, start, torch.diag(torch.tensor([4.0, 2.0], dtype=F64)))
    for found, moments in ((result, wanted), (rts_smoother(result), smoothed(wanted))):
        means, covs = (torch.stack(part) for part in zip(*moments, strict=True))
        torch.testing.assert_close(found.mean[0, :, 0], means, rtol=0, atol=1e-8)
        torch.testing.assert_close(found.cov[0, :, 0], covs, rtol=0, atol=1e-8)
