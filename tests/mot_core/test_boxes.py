"""Box functions against plain loops, on arrays and tensors, with gradients."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mot_core import boxes as B
from mot_core.ops import choice

OVERLAPS = {"iou": B.iou, "giou": B.giou, "diou": B.diou}
PAIRWISE = {"iou": B.pairwise_iou, "giou": B.pairwise_giou, "diou": B.pairwise_diou}
every_overlap = pytest.mark.parametrize("kind", OVERLAPS)


def loop_overlap(kind, a, b):
    """Overlap of one pair of boxes by the definitions."""
    ax1, ay1, ax2, ay2 = map(float, a)
    bx1, by1, bx2, by2 = map(float, b)
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = max(0.0, ax2 - ax1) * max(0.0, ay2 - ay1) + max(0.0, bx2 - bx1) * max(0.0, by2 - by1) - shared
    iou = shared / union if union else 0.0
    width, height = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    if kind == "giou":
        return iou - (width * height - union) / (width * height) if width * height else iou
    if kind == "diou":
        far = ((ax1 + ax2) / 2 - (bx1 + bx2) / 2) ** 2 + ((ay1 + ay2) / 2 - (by1 + by2) / 2) ** 2
        return iou - far / (width**2 + height**2) if width or height else iou
    return iou


def random_boxes(rng, *shape):
    corner = rng.uniform(-20, 60, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(0.5, 50, (*shape, 2))], -1)


# Whole numbers up to 2^10: every product is exact in float64, so scaled and moved boxes compare exactly.
coordinate, side = st.integers(-512, 512), st.integers(0, 256)
box = st.tuples(coordinate, coordinate, side, side).map(
    lambda v: np.array([v[0], v[1], v[0] + v[2], v[1] + v[3]], float)
)
solid = st.tuples(coordinate, coordinate, side, side).map(
    lambda v: np.array([v[0], v[1], v[0] + v[2] + 1, v[1] + v[3] + 1], float)
)


@every_overlap
@pytest.mark.parametrize(("n", "m"), [(7, 5), (1, 1), (1, 9), (4, 1)])
def test_pairwise_equals_loops(kind, n, m):
    rng = np.random.default_rng(n * 10 + m)
    a, b = random_boxes(rng, n), random_boxes(rng, m)
    b[0] = a[0]  # one equal pair
    expected = [[loop_overlap(kind, x, y) for y in b] for x in a]
    np.testing.assert_allclose(PAIRWISE[kind](a, b), expected, rtol=1e-12, atol=1e-12)
    result = PAIRWISE[kind](torch.tensor(a), torch.tensor(b))
    assert result.dtype == torch.float64
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-12)


@every_overlap
@settings(max_examples=100, deadline=None)
@given(box, box)
def test_pair_equals_loop(kind, a, b):
    """Includes boxes without area and at any distance."""
    assert OVERLAPS[kind](a, b) == pytest.approx(loop_overlap(kind, a, b), abs=1e-12)


@every_overlap
@pytest.mark.parametrize(
    ("shape_a", "shape_b", "out"),
    [((), (), ()), ((3,), (3,), (3,)), ((3,), (), (3,)), ((2, 1, 3), (5, 1), (2, 5, 3)), ((0,), (0,), (0,))],
)
def test_shapes_broadcast(kind, shape_a, shape_b, out):
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, *shape_a), random_boxes(rng, *shape_b)
    result = OVERLAPS[kind](a, b)
    assert result.shape == out
    wide_a, wide_b = np.broadcast_to(a, (*out, 4)).reshape(-1, 4), np.broadcast_to(b, (*out, 4)).reshape(-1, 4)
    expected = [loop_overlap(kind, x, y) for x, y in zip(wide_a, wide_b, strict=True)]
    np.testing.assert_allclose(np.ravel(result), expected, atol=1e-12)
    assert OVERLAPS[kind](torch.tensor(a), torch.tensor(b)).shape == out


@every_overlap
def test_pairwise_in_batches(kind):
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 2, 3, 6), random_boxes(rng, 2, 3, 4)
    result = PAIRWISE[kind](a, b)
    assert result.shape == (2, 3, 6, 4)
    np.testing.assert_array_equal(result[1, 2], PAIRWISE[kind](a[1, 2], b[1, 2]))
    np.testing.assert_array_equal(PAIRWISE[kind](a, b[0, 0])[1, 1], PAIRWISE[kind](a[1, 1], b[0, 0]))


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
@every_overlap
def test_pairwise_of_empty_inputs(kind, n, m):
    assert PAIRWISE[kind](np.zeros((n, 4)), np.zeros((m, 4))).shape == (n, m)
    assert PAIRWISE[kind](torch.zeros(n, 4), torch.zeros(m, 4)).shape == (n, m)


def test_kernels_are_for_tensors_only(monkeypatch):
    """The kernel itself is tested in tests/kernels."""

    def ask(tensor):
        raise InterruptedError

    monkeypatch.setattr(choice, "use_kernels", ask)
    for function in (B.pairwise_iou, B.pairwise_giou):
        assert function(np.zeros((2, 4)), np.zeros((3, 4))).shape == function([[0] * 4] * 2, [[0] * 4] * 3).shape
        with pytest.raises(InterruptedError):
            function(torch.zeros(2, 4), torch.zeros(3, 4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_compiles_without_breaks(dtype):
    a, b = (torch.tensor(random_boxes(np.random.default_rng(seed), 3), dtype=dtype) for seed in range(2))
    compiled = torch.compile(B.pairwise_giou, fullgraph=True, backend="eager")
    assert torch.equal(compiled(a, b), B.pairwise_giou(a, b))


@settings(max_examples=200, deadline=None)
@given(box, box)
def test_bounds_symmetry_and_order(a, b):
    values = {kind: float(overlap(a, b)) for kind, overlap in OVERLAPS.items()}
    assert 0 <= values["iou"] <= 1
    for kind in ("giou", "diou"):
        assert -1 <= values[kind] <= values["iou"]
    for kind, overlap in OVERLAPS.items():
        assert overlap(b, a) == values[kind]


@settings(max_examples=100, deadline=None)
@given(solid)
def test_self_overlap_is_one(a):
    for overlap in OVERLAPS.values():
        assert overlap(a, a) == 1


@settings(max_examples=100, deadline=None)
@given(box, box, coordinate, coordinate, st.integers(-8, 8))
def test_scale_and_translation_invariance(a, b, dx, dy, power):
    move = np.array([dx, dy, dx, dy], float)
    for overlap in OVERLAPS.values():
        expected = overlap(a, b)
        assert overlap(a + move, b + move) == expected
        assert overlap(a * 2.0**power, b * 2.0**power) == expected


@every_overlap
def test_gradcheck(kind):
    rng = np.random.default_rng(2)
    a, b = (torch.tensor(random_boxes(rng, 4), requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(OVERLAPS[kind], (a, b))
    assert torch.autograd.gradcheck(PAIRWISE[kind], (a, b))


DEGENERATE = {
    "two equal points": ([3, 3, 3, 3], [3, 3, 3, 3]),
    "two points": ([3, 3, 3, 3], [5, 5, 5, 5]),
    "two lines": ([0, 3, 9, 3], [4, 3, 12, 3]),
    "a point in a box": ([3, 3, 3, 3], [0, 0, 9, 9]),
    "equal boxes": ([0, 0, 9, 9], [0, 0, 9, 9]),
    "neighbours": ([0, 0, 9, 9], [9, 0, 12, 9]),
    "far apart": ([0, 0, 1, 1], [1e6, 1e6, 1e6 + 1, 1e6 + 1]),
    "inverted": ([9, 9, 0, 0], [2, 2, 7, 7]),
}


@every_overlap
@pytest.mark.parametrize("case", DEGENERATE)
def test_gradients_are_finite(kind, case):
    a, b = (torch.tensor(values, dtype=torch.float32, requires_grad=True) for values in DEGENERATE[case])
    value = OVERLAPS[kind](a, b)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(a.grad).all()
    assert torch.isfinite(b.grad).all()


def test_giou_gradient_of_disjoint_boxes():
    a = torch.tensor([0.0, 0, 1, 1], requires_grad=True)
    B.giou(a, torch.tensor([5.0, 0, 6, 1])).backward()
    assert a.grad[2] > 0


@every_overlap
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(kind, dtype):
    """The area of a box of 1,000 x 1,000 pixels is 16 times the largest float16."""
    a = torch.tensor([[0, 0, 1000, 1000], [500, 500, 1900, 1060]]).to(dtype)
    b = torch.tensor([[8, 0, 1000, 1000], [0, 0, 64, 64], [512, 512, 1900, 1024]]).to(dtype)
    result = PAIRWISE[kind](a, b)
    assert result.dtype == dtype
    expected = PAIRWISE[kind](a.double(), b.double())
    torch.testing.assert_close(result.double(), expected, atol=0, rtol=4 * torch.finfo(dtype).eps)
    gradient = a.clone().requires_grad_()
    PAIRWISE[kind](gradient, b).sum().backward()
    assert torch.isfinite(gradient.grad).all()


def test_half_precision_arrays():
    a = np.array([[0, 0, 1000, 1000]], np.float16)
    assert B.pairwise_iou(a, a).dtype == np.float16
    assert B.pairwise_iou(a, a) == 1
    assert B.box_area(a) == 1e6
    assert B.box_area(torch.tensor(a)).tolist() == [1e6]
    assert B.box_area(torch.tensor(a).bfloat16()).dtype == torch.float32


@every_overlap
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(kind, dtype):
    a = random_boxes(np.random.default_rng(0), 3).astype(dtype)
    assert PAIRWISE[kind](a, a).dtype == dtype
    assert PAIRWISE[kind](torch.tensor(a), torch.tensor(a)).numpy().dtype == dtype


def test_integer_and_list_inputs():
    assert B.iou([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert B.pairwise_iou([[0, 0, 2, 2]], [[1, 0, 3, 2]]).shape == (1, 1)
    assert B.iou(torch.tensor([0, 0, 2, 2]), torch.tensor([1, 0, 3, 2])).item() == pytest.approx(1 / 3)
    np.testing.assert_allclose(B.xyxy_to_cxcywh([0, 0, 3, 2]), [1.5, 1, 3, 2])


@settings(max_examples=100, deadline=None)
@given(box, st.sampled_from([np.asarray, torch.tensor]))
def test_format_round_trip(a, form):
    given = form(a)
    x1, y1, x2, y2 = a
    center, ltwh = B.xyxy_to_cxcywh(given), B.xyxy_to_ltwh(given)
    assert type(center) is type(ltwh) is type(given)
    np.testing.assert_array_equal(center, [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
    np.testing.assert_array_equal(ltwh, [x1, y1, x2 - x1, y2 - y1])
    np.testing.assert_array_equal(B.cxcywh_to_xyxy(center), a)
    np.testing.assert_array_equal(B.ltwh_to_xyxy(ltwh), a)
    assert B.box_area(given) == (x2 - x1) * (y2 - y1)


@settings(max_examples=50, deadline=None)
@given(box, st.tuples(st.integers(1, 4000), st.integers(1, 4000)), st.sampled_from([np.asarray, torch.tensor]))
def test_normalization_round_trip(a, image_size, form):
    height, width = image_size
    normal = B.normalize_boxes(form(a), image_size)
    np.testing.assert_allclose(normal, a / np.array([width, height, width, height]), rtol=1e-12)
    np.testing.assert_allclose(B.denormalize_boxes(normal, image_size), a, rtol=1e-12)


def test_normalization_commutes_with_formats():
    a = random_boxes(np.random.default_rng(3), 2, 5)
    size = (480, 640)
    np.testing.assert_allclose(
        B.xyxy_to_cxcywh(B.normalize_boxes(a, size)), B.normalize_boxes(B.xyxy_to_cxcywh(a), size), rtol=1e-12
    )


def test_formats_are_differentiable():
    a = torch.tensor(random_boxes(np.random.default_rng(4), 3), requires_grad=True)
    for convert in (B.xyxy_to_cxcywh, B.cxcywh_to_xyxy, B.ltwh_to_xyxy, B.xyxy_to_ltwh, B.box_area):
        assert torch.autograd.gradcheck(convert, (a,))
    assert torch.autograd.gradcheck(lambda v: B.denormalize_boxes(B.normalize_boxes(v, (4, 5)), (6, 7)), (a,))


def test_area_of_inverted_boxes():
    assert B.box_area(np.array([5.0, 0, 3, 2])) == 0
    assert B.box_area(np.array([5.0, 3, 3, 2])) == 0  # the product of two negative sides is not positive
    assert B.iou(np.array([5.0, 3, 3, 2]), np.array([0.0, 0, 9, 9])) == 0


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_batched_image_sizes_equal_single_sizes(convert):
    boxes, sizes = np.random.default_rng(0).random((3, 5, 4), np.float32), [(240, 640), (100, 70), (1080, 1920)]
    for function in (B.normalize_boxes, B.denormalize_boxes):
        expected = np.stack([function(one, size) for one, size in zip(boxes, sizes, strict=True)])
        for batch in (sizes, np.array(sizes), convert(sizes)):
            np.testing.assert_array_equal(function(convert(boxes), batch), expected)
        np.testing.assert_array_equal(function(convert(boxes[0]), convert(sizes[0])), expected[0])


def test_invalid_image_sizes_are_rejected():
    with pytest.raises(ValueError, match=re.escape("image_size must have shape (2,) or (3, 2) for boxes (3, 5, 4)")):
        B.normalize_boxes(torch.zeros(3, 5, 4), torch.ones(2, 2))
    with pytest.raises(ValueError, match="both positive"):
        B.normalize_boxes(np.zeros((2, 5, 4)), [(240, 640), (0, 640)])


@pytest.mark.parametrize("wrong", [np.zeros((3, 5)), np.zeros(3), np.zeros((4, 0)), torch.zeros(2, 3)])
@pytest.mark.parametrize(
    "function",
    [B.xyxy_to_cxcywh, B.xyxy_to_ltwh, B.box_area, lambda v: B.iou(v, v), lambda v: B.nms(v, [0.5] * len(v), 0.5)],
)
def test_invalid_shapes_are_rejected(function, wrong):
    with pytest.raises(ValueError, match=re.escape("xyxy must have shape (..., 4), got " + str(tuple(wrong.shape)))):
        function(wrong)


def test_invalid_arguments_are_rejected():
    one = np.zeros(4)
    with pytest.raises(TypeError, match="a_xyxy and b_xyxy must both be arrays or both tensors"):
        B.iou(one, torch.zeros(4))
    with pytest.raises(TypeError, match="boxes must be a NumPy array or a tensor, got str"):
        B.box_area("0 0 1 1")
    with pytest.raises(ValueError, match=re.escape("boxes must have shape (..., N, 4), got (4,) and (4,)")):
        B.pairwise_iou(one, one)
    for size in [(0, 4), (4, -1)]:
        with pytest.raises(ValueError, match=re.escape("image_size must be (height, width) in pixels, both positive")):
            B.normalize_boxes(one, size)


def loop_nms(boxes, scores, threshold, classes=None):
    kept = []
    for row in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        rivals = [k for k in kept if classes is None or classes[k] == classes[row]]
        if all(loop_overlap("iou", boxes[row], boxes[k]) <= threshold for k in rivals):
            kept.append(row)
    return kept


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("with_classes", [False, True])
def test_nms_equals_the_loop(seed, threshold, with_classes):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 40), rng.random(40).round(1)  # equal scores keep their order
    classes = rng.integers(0, 3, 40) if with_classes else None
    expected = loop_nms(boxes, scores, threshold, classes)
    kept = B.nms(boxes, scores, threshold, classes)
    assert kept.tolist() == expected
    assert kept.dtype == np.int64
    labels = None if classes is None else torch.tensor(classes)
    tensor = B.nms(torch.tensor(boxes, requires_grad=True), torch.tensor(scores, requires_grad=True), threshold, labels)
    assert tensor.tolist() == expected
    assert tensor.dtype == torch.int64


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_nms_keeps_separate_boxes(seed, threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 15), rng.random(15)
    kept = B.nms(boxes, scores, threshold)
    assert kept[0] == scores.argmax()
    assert (np.diff(scores[kept]) <= 0).all()
    overlap = B.pairwise_iou(boxes[kept], boxes[kept]) - 2 * np.eye(len(kept))
    assert (overlap <= threshold).all()
    assert B.nms(boxes[kept], scores[kept], threshold).tolist() == list(range(len(kept)))


def test_nms_of_empty_single_and_list_inputs():
    assert B.nms(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)
    assert B.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    assert B.nms(np.ones((1, 4)), np.ones(1), 0.5).tolist() == [0]
    twice = [[0, 0, 2, 2], [0, 0, 2, 2]]
    assert B.nms(twice, [0.1, 0.2], 0.5, ["car", "bus"]).tolist() == [1, 0]
    assert B.nms(torch.tensor(twice), [0.1, 0.2], 0.5, np.array([3, 3])).tolist() == [1]
    assert B.nms(np.array(twice), torch.tensor([0.1, 0.2]), 0.5).tolist() == [1]


def test_nms_with_unequal_lengths_is_rejected():
    with pytest.raises(ValueError, match="boxes_xyxy, scores and classes must have the same length, got 2, 3"):
        B.nms(np.zeros((2, 4)), np.zeros(3), 0.5)
    with pytest.raises(ValueError, match="got 2, 2 and 1"):
        B.nms(np.zeros((2, 4)), np.zeros(2), 0.5, np.zeros(1))
