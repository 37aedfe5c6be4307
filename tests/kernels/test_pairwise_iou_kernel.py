"""The pairwise overlap kernels against the reference and against loops: values and gradients."""

import pytest
import torch

from _helpers.kernels.comparison import assert_close, with_gradients
from mot_core.boxes import pairwise_giou, pairwise_iou
from mot_core.ops import choice
from mot_core.ops.fused import pairwise_iou as fused

F64 = torch.float64
KINDS = {"iou": pairwise_iou, "giou": pairwise_giou}
every_kind = pytest.mark.parametrize("kind", KINDS)


def random_boxes(*shape, seed=0, dtype=F64, device="cpu", scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    corner, size = (torch.rand(*shape, 2, generator=generator, dtype=F64) for _ in range(2))
    return (scale * torch.cat([corner, corner + 0.05 + 0.5 * size], -1)).to(device, dtype)


def whole_boxes(count, seed, dtype=F64, device="cpu"):
    """Few whole numbers: equal sides, touching boxes, points, lines and inverted boxes."""
    return torch.randint(0, 4, (count, 4), generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def reference(kind, monkeypatch):
    def function(*inputs):
        with monkeypatch.context() as patch:
            patch.setattr(choice, "CHOICE", "reference")
            return KINDS[kind](*inputs)

    return function


def rounds(dtype, device):
    """Return whether results are rounded; Triton's interpreter truncates to bfloat16."""
    return device == "cuda" or dtype != torch.bfloat16


def loop(kind, a, b):
    """One pair by the definition."""
    ax1, ay1, ax2, ay2, bx1, by1, bx2, by2 = (*a.tolist(), *b.tolist())
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = max(0.0, ax2 - ax1) * max(0.0, ay2 - ay1) + max(0.0, bx2 - bx1) * max(0.0, by2 - by1) - shared
    value = shared / union if union > 0 else 0.0
    if kind == "giou":
        hull = max(0.0, max(ax2, bx2) - min(ax1, bx1)) * max(0.0, max(ay2, by2) - min(ay1, by1))
        value -= (hull - union) / (hull if hull > 0 else 1)
    return value


@every_kind
@pytest.mark.parametrize("make", [random_boxes, whole_boxes])
def test_equals_loops(kind, make, device):
    a, b = make(7, seed=1, device=device), make(6, seed=2, device=device)
    wanted = torch.tensor([[loop(kind, one, other) for other in b] for one in a], dtype=F64)
    torch.testing.assert_close(KINDS[kind](a, b).cpu(), wanted, rtol=1e-14, atol=1e-14)


# Some exceed one tile of 4 x 128, on either side.
@every_kind
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (2, 5, 3), (1, 6, 131), (1, 131, 6)])
def test_equals_the_reference(kind, shape, device, monkeypatch):
    batch, n, m = shape
    inputs = [random_boxes(batch, n, device=device), random_boxes(batch, m, seed=1, device=device)]
    found, wanted = with_gradients(KINDS[kind], inputs), with_gradients(reference(kind, monkeypatch), inputs)
    assert torch.equal(found[0], wanted[0])
    assert_close(found, wanted, 1e-13)


@every_kind
def test_ties_and_boxes_without_area(kind, device, monkeypatch):
    """Equal corners share the gradient and sides of length 0 pass it on, as in PyTorch."""
    inputs = [whole_boxes(60, 0, device=device), whole_boxes(50, 1, device=device)]
    found, wanted = with_gradients(KINDS[kind], inputs), with_gradients(reference(kind, monkeypatch), inputs)
    assert torch.equal(found[0], wanted[0])
    assert_close(found, wanted, 1e-13)


@every_kind
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_precisions(kind, dtype, tolerance, device, monkeypatch):
    inputs = [random_boxes(9, dtype=dtype, device=device), random_boxes(7, seed=1, dtype=dtype, device=device)]
    found = with_gradients(KINDS[kind], inputs)
    if rounds(dtype, device):
        assert torch.equal(found[0], with_gradients(reference(kind, monkeypatch), inputs)[0])
    assert_close(found, with_gradients(reference(kind, monkeypatch), [one.double() for one in inputs]), tolerance)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_areas_in_pixels_do_not_overflow(kind, dtype, device, monkeypatch):
    inputs = [random_boxes(5, seed=seed, dtype=dtype, device=device, scale=1900) for seed in range(2)]
    found = with_gradients(KINDS[kind], inputs)
    assert_close(found, with_gradients(reference(kind, monkeypatch), [one.double() for one in inputs]), 1e-2)


@pytest.mark.parametrize(
    ("first", "second"),
    [(torch.half, torch.float), (torch.float, torch.bfloat16), (torch.float, F64), (torch.int64, torch.float)],
)
def test_mixed_dtypes(first, second, device, monkeypatch):
    a = random_boxes(3, dtype=first, device=device, scale=100)
    b = random_boxes(4, seed=1, dtype=second, device=device, scale=100)
    found, wanted = with_gradients(pairwise_giou, [a, b]), with_gradients(reference("giou", monkeypatch), [a, b])
    assert_close(found, wanted, 1e-5 if first == torch.int64 or second == F64 else 8e-3)
    assert pairwise_giou(a, b).dtype == reference("giou", monkeypatch)(a, b).dtype


@every_kind
def test_nan_padding_has_no_effect(kind, device, monkeypatch):
    """The padding has NaN values; with zero upstream gradient it has gradient 0, and the others are unaffected."""
    inputs = a, b = random_boxes(6, device=device), random_boxes(131, seed=1, device=device)
    a[4:], b[129:] = torch.nan, torch.nan
    exact = {"rtol": 0, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(KINDS[kind](a, b), reference(kind, monkeypatch)(a, b), **exact)

    def padded(function):
        return lambda x, y: function(x, y)[:4, :129]

    found, wanted = (with_gradients(padded(one), inputs) for one in (KINDS[kind], reference(kind, monkeypatch)))
    assert_close(found, wanted, 1e-13)
    assert not found[1][4:].any()
    assert not found[2][129:].any()


@every_kind
def test_arbitrary_leading_dimensions_and_strides(kind, device, monkeypatch):
    a = random_boxes(2, 1, 3, device=device).transpose(0, 2)  # (3, 1, 2, 4)
    b = random_boxes(4, 5, seed=1, device=device)  # for each of the three
    found, wanted = with_gradients(KINDS[kind], [a, b]), with_gradients(reference(kind, monkeypatch), [a, b])
    assert found[0].shape == (3, 4, 2, 5)
    assert_close(found, wanted, 1e-13)


@every_kind
def test_symmetry_and_permutation_equivariance(kind, device):
    a, b = random_boxes(9, device=device), random_boxes(7, seed=1, device=device)
    rows, columns = torch.randperm(9, device=device), torch.randperm(7, device=device)
    values = KINDS[kind](a, b)
    assert torch.equal(KINDS[kind](a[rows], b[columns]), values[rows][:, columns])
    assert torch.equal(KINDS[kind](b, a), values.mT)


def test_self_overlap_is_one(device):
    boxes = random_boxes(40, dtype=torch.float32, device=device)
    for function in KINDS.values():
        assert (function(boxes, boxes).diagonal() == 1).all()
        assert function(boxes, boxes).max() == 1


@every_kind
def test_gradients_equal_finite_differences(kind, device):
    a, b = (random_boxes(3, seed=seed, device=device).requires_grad_() for seed in range(2))
    assert torch.autograd.gradcheck(KINDS[kind], (a, b))


def test_only_required_gradients_are_computed(device, monkeypatch):
    a, b = random_boxes(2, device=device).requires_grad_(), random_boxes(5, seed=1, device=device)
    calls, backward = [], fused.backward

    def counted(*inputs):
        calls.append(inputs[1].shape)
        return backward(*inputs)

    monkeypatch.setattr(fused, "backward", counted)
    pairwise_iou(a, b).sum().backward()
    pairwise_iou(b, a).sum().backward()
    assert calls == [(1, 2, 4), (1, 2, 4)]


def test_empty_inputs_fall_back_to_reference(device, monkeypatch):
    monkeypatch.setattr(fused, "forward", None)
    for shape, other in [((0, 4), (3, 4)), ((3, 4), (0, 4)), ((0, 2, 4), (3, 4))]:
        boxes = torch.zeros(shape, device=device, requires_grad=True)
        result = pairwise_giou(boxes, torch.zeros(other, device=device))
        assert result.shape == (*shape[:-1], other[0])
        result.sum().backward()
        assert torch.equal(boxes.grad, torch.zeros(shape, device=device))
    boxes = random_boxes(3, device=device)
    pairwise_iou(boxes.cpu().numpy(), boxes.cpu().numpy())
    with pytest.raises(TypeError, match="not callable"):
        pairwise_iou(boxes, boxes)


def test_invalid_arguments_are_rejected(device):
    boxes = random_boxes(3, device=device)
    with pytest.raises(ValueError, match=r"boxes must have shape \(..., N, 4\), got \(4,\) and \(3, 4\)"):
        pairwise_iou(boxes[0], boxes)
    with pytest.raises(ValueError, match=r"b_xyxy must have shape \(..., 4\), got \(3, 3\)"):
        pairwise_iou(boxes, boxes[:, :3])
    with pytest.raises(TypeError, match="a_xyxy and b_xyxy must both be arrays or both tensors"):
        pairwise_iou(boxes, boxes.cpu().numpy())


@every_kind
def test_operator_registration(kind, device):
    a, b = (random_boxes(2, count, device=device) for count in (2, 3))
    gradient = torch.rand(2, 3, 2, dtype=F64, device=device).mT
    torch.library.opcheck(fused.backward, (gradient, a, b, kind == "giou"))
    torch.library.opcheck(fused.forward, (a.requires_grad_(), b.requires_grad_(), kind == "giou"))


@every_kind
def test_compiles_without_breaks(kind, device):
    inputs = [random_boxes(2, count, dtype=torch.float32, device=device) for count in (3, 4)]
    compiled = torch.compile(KINDS[kind], fullgraph=True, backend="aot_eager")
    assert_close(with_gradients(compiled, inputs), with_gradients(KINDS[kind], inputs), 1e-6)


@every_kind
def test_vmap(kind, device):
    a, b = random_boxes(3, 2, 4, device=device), random_boxes(5, seed=1, device=device)
    found = torch.vmap(KINDS[kind], in_dims=(0, None))(a, b)
    torch.testing.assert_close(found, KINDS[kind](a, b))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sizes for a GPU")
@every_kind
@pytest.mark.parametrize("shape", [(32, 300, 60), (1, 4096, 2048), (70000, 5, 3), (1, 300000, 3)])
def test_crowd_sizes(kind, shape, monkeypatch):
    batch, n, m = shape
    inputs = [random_boxes(batch, count, seed=count, dtype=torch.float32, device="cuda") for count in (n, m)]
    found, wanted = with_gradients(KINDS[kind], inputs), with_gradients(reference(kind, monkeypatch), inputs)
    assert torch.equal(found[0], wanted[0])
    assert_close(found, wanted, 1e-4)
