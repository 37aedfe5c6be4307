"""Box formats, overlaps and non-maximum suppression on NumPy arrays and tensors.

Every function returns the type it was given; on tensors all but ``nms`` are differentiable. Leading dimensions are
free (batches). Formats: ``xyxy`` corners, ``cxcywh`` center and size, ``ltwh`` left, top, width and height (files
only).
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from mot_core.structures import Array


def xyxy_to_cxcywh(boxes_xyxy: Array) -> Array:
    """Convert corners to center and size.

    >>> xyxy_to_cxcywh(np.array([0., 0., 4., 2.]))
    array([2., 1., 4., 2.])
    """
    xp, boxes = _open(boxes_xyxy, "boxes_xyxy")
    x1, y1, x2, y2 = _columns(boxes)
    return xp.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)


def cxcywh_to_xyxy(boxes_cxcywh: Array) -> Array:
    """Convert center and size to corners.

    >>> cxcywh_to_xyxy(np.array([2., 1., 4., 2.]))
    array([0., 0., 4., 2.])
    """
    xp, boxes = _open(boxes_cxcywh, "boxes_cxcywh")
    cx, cy, w, h = _columns(boxes)
    return xp.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def ltwh_to_xyxy(boxes_ltwh: Array) -> Array:
    """Convert left, top, width, height (MOT files) to corners.

    >>> ltwh_to_xyxy(np.array([1., 1., 4., 2.]))
    array([1., 1., 5., 3.])
    """
    xp, boxes = _open(boxes_ltwh, "boxes_ltwh")
    return xp.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def xyxy_to_ltwh(boxes_xyxy: Array) -> Array:
    """Convert corners to left, top, width, height (MOT files).

    >>> xyxy_to_ltwh(np.array([1., 1., 5., 3.]))
    array([1., 1., 4., 2.])
    """
    xp, boxes = _open(boxes_xyxy, "boxes_xyxy")
    return xp.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)


def normalize_boxes(boxes: Array, image_size: tuple[int, int] | Array) -> Array:
    """Scale boxes of any format from pixels to [0, 1].

    Args:
        boxes: Boxes in pixels of shape ``(..., 4)``.
        image_size: (height, width) in pixels of all boxes, or sizes of shape ``(B, 2)`` for boxes ``(B, N, 4)``.

    Returns:
        Boxes of the same shape in fractions of the image.

    Raises:
        ValueError: If a size is not positive (tensors are not checked, to avoid waiting for the GPU) or the shapes do
            not match.

    >>> normalize_boxes(np.array([0., 0., 320., 120.]), (240, 640))
    array([0. , 0. , 0.5, 0.5])
    >>> normalize_boxes(np.array([[[0., 0., 320., 120.]], [[0., 0., 50., 50.]]]), np.array([[240, 640], [100, 100]]))
    array([[[0. , 0. , 0.5, 0.5]],
    <BLANKLINE>
           [[0. , 0. , 0.5, 0.5]]])
    """
    xp, values = _open(boxes, "boxes")
    return values / _scale(xp, values, image_size)


def denormalize_boxes(boxes: Array, image_size: tuple[int, int] | Array) -> Array:
    """Scale boxes of any format from [0, 1] to pixels.

    Args:
        boxes: Boxes in fractions of the image, of shape ``(..., 4)``.
        image_size: (height, width) in pixels of all boxes, or sizes of shape ``(B, 2)`` for boxes ``(B, N, 4)``.

    Returns:
        Boxes of the same shape in pixels.

    Raises:
        ValueError: If a size is not positive (tensors are not checked, to avoid waiting for the GPU) or the shapes do
            not match.

    >>> denormalize_boxes(np.array([0., 0., 0.5, 0.5]), (240, 640))
    array([  0.,   0., 320., 120.])
    >>> denormalize_boxes(np.full((2, 1, 4), 0.5), np.array([[240, 640], [100, 200]]))
    array([[[320., 120., 320., 120.]],
    <BLANKLINE>
           [[100.,  50., 100.,  50.]]])
    """
    xp, values = _open(boxes, "boxes")
    return values * _scale(xp, values, image_size)


def box_area(boxes_xyxy: Array) -> Array:
    """Area ``(...)`` of boxes ``(..., 4)``; 0 for inverted boxes. Half precision gives float32.

    >>> float(box_area(np.array([0., 0., 4., 2.])))
    8.0
    """
    xp, boxes = _open(boxes_xyxy, "boxes_xyxy")
    x1, y1, x2, y2 = _columns(_widen(xp, boxes))
    return _positive(xp, x2 - x1) * _positive(xp, y2 - y1)


def iou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """Intersection over union of corresponding boxes, with broadcasting: ``(..., 4), (..., 4) -> (...)``.

    ``IoU = I / U`` with the areas of intersection and union, ``U = area(a) + area(b) - I`` (Jaccard index). Two boxes
    without area have IoU 0 and a finite gradient. Half precision is computed in float32.

    >>> float(iou(np.array([0., 0., 2., 2.]), np.array([1., 0., 3., 2.])))
    0.3333333333333333
    """
    xp, a, b = _open_pair(a_xyxy, b_xyxy)
    overlap, _ = _iou_and_union(xp, a, b)
    return _close(overlap, a_xyxy)


def giou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """Generalized IoU in [-1, 1] of corresponding boxes.

    ``GIoU = IoU - (C - U) / C`` with the union ``U`` and the area ``C`` of the smallest enclosing box (Rezatofighi et
    al., CVPR 2019, arXiv:1902.09630, algorithm 1).

    >>> float(giou(np.array([0., 0., 1., 1.]), np.array([2., 0., 3., 1.])))
    -0.3333333333333333
    """
    xp, a, b = _open_pair(a_xyxy, b_xyxy)
    overlap, union = _iou_and_union(xp, a, b)
    width, height = _hull(xp, a, b)
    hull = width * height
    return _close(overlap - (hull - union) / xp.where(hull > 0, hull, xp.ones_like(hull)), a_xyxy)


def diou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """Distance IoU of corresponding boxes.

    ``DIoU = IoU - d^2 / c^2`` with the distance ``d`` of the centers and the diagonal ``c`` of the smallest enclosing
    box (Zheng et al., AAAI 2020, arXiv:1911.08287, eq. 7).

    >>> float(diou(np.array([0., 0., 1., 1.]), np.array([2., 0., 3., 1.])))
    -0.4
    """
    xp, a, b = _open_pair(a_xyxy, b_xyxy)
    overlap, _ = _iou_and_union(xp, a, b)
    width, height = _hull(xp, a, b)
    diagonal = width * width + height * height
    ax1, ay1, ax2, ay2 = _columns(a)
    bx1, by1, bx2, by2 = _columns(b)
    distance = ((ax1 + ax2 - bx1 - bx2) ** 2 + (ay1 + ay2 - by1 - by2) ** 2) / 4
    return _close(overlap - distance / xp.where(diagonal > 0, diagonal, xp.ones_like(diagonal)), a_xyxy)


def pairwise_iou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """IoU of every pair: ``(..., N, 4), (..., M, 4) -> (..., N, M)``.

    ``IoU = I / (area(a) + area(b) - I)`` with the area ``I`` of the intersection; see :func:`iou`.

    >>> pairwise_iou(np.array([[0., 0., 2., 2.]]), np.array([[0., 0., 2., 2.], [5., 5., 6., 6.]]))
    array([[1., 0.]])
    """
    return _of_all_pairs(iou, a_xyxy, b_xyxy)


def pairwise_giou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """Generalized IoU of every pair: ``(..., N, 4), (..., M, 4) -> (..., N, M)``.

    ``GIoU = IoU - (C - U) / C`` with union ``U`` and enclosing box ``C``; see :func:`giou`.

    >>> pairwise_giou(np.array([[0., 0., 1., 1.]]), np.array([[2., 0., 3., 1.]])).round(3)
    array([[-0.333]])
    """
    return _of_all_pairs(giou, a_xyxy, b_xyxy)


def pairwise_diou(a_xyxy: Array, b_xyxy: Array) -> Array:
    """Distance IoU of every pair: ``(..., N, 4), (..., M, 4) -> (..., N, M)``; see :func:`diou`.

    >>> pairwise_diou(np.array([[0., 0., 1., 1.]]), np.array([[2., 0., 3., 1.]]))
    array([[-0.4]])
    """
    return _of_all_pairs(diou, a_xyxy, b_xyxy)


def nms(boxes_xyxy: Array, scores: Array, iou_threshold: float, classes: Array | None = None) -> Array:
    """Greedy non-maximum suppression of one image; with ``classes``, within each class only.

    Args:
        boxes_xyxy: Corners of shape ``(N, 4)`` in pixels.
        scores: Confidences of shape ``(N,)``; equal scores keep their order.
        iou_threshold: IoU with a kept box above which a box is dropped. Lower values drop more boxes.
        classes: Labels of shape ``(N,)``, or None.

    Returns:
        Rows to keep as int64, in descending order of scores.

    Raises:
        ValueError: If the lengths differ.

    >>> nms(np.array([[0., 0., 2., 2.], [0., 0., 2., 2.1], [5., 5., 6., 6.]]), np.array([.8, .9, .7]), 0.5)
    array([1, 2])
    """
    xp, boxes = _open(boxes_xyxy, "boxes_xyxy")
    if len(boxes) != len(scores) or (classes is not None and len(boxes) != len(classes)):
        raise ValueError(
            f"boxes_xyxy, scores and classes must have the same length, got {len(boxes)}, {len(scores)}"
            + ("" if classes is None else f" and {len(classes)}")
        )
    values = np.asarray(scores) if xp is np else xp.as_tensor(scores, device=boxes.device).detach()
    order = xp.argsort(-values, stable=True)
    boxes = boxes[order]
    suppresses = pairwise_iou(boxes, boxes) > iou_threshold
    if classes is not None:
        labels = xp.asarray(classes)[order]
        suppresses &= labels[:, None] == labels[None, :]
    # The loop runs in NumPy: on a tensor, every step would cost a kernel launch and, on a GPU, a synchronization.
    matrix = suppresses if xp is np else suppresses.cpu().numpy()
    keep = np.ones(len(order), bool)
    for row in range(len(order)):
        if keep[row]:
            keep[row + 1 :] &= ~matrix[row, row + 1 :]
    return order[keep if xp is np else xp.from_numpy(keep).to(order.device)]


def _open(boxes: Array, name: str) -> tuple[Any, Any]:
    """Return the namespace to compute in (numpy or torch) and the boxes as a floating-point array of it."""
    xp = _namespace(boxes)
    values: Any = boxes if xp is not np else np.asarray(boxes)
    if values.shape[-1:] != (4,):
        raise ValueError(f"{name} must have shape (..., 4), got {tuple(values.shape)}")
    floating = values.is_floating_point() if xp is not np else np.issubdtype(values.dtype, np.floating)
    if not floating:
        values = values.to(xp.get_default_dtype()) if xp is not np else values.astype(np.float64)
    return xp, values


def _open_pair(a: Array, b: Array) -> tuple[Any, Any, Any]:
    xp, first = _open(a, "a_xyxy")
    if _namespace(b) is not xp:
        raise TypeError(f"a_xyxy and b_xyxy must both be arrays or both tensors, got {type(a)} and {type(b)}")
    _, second = _open(b, "b_xyxy")
    return xp, _widen(xp, first), _widen(xp, second)


def _namespace(boxes: Array) -> ModuleType:
    if isinstance(boxes, (np.ndarray, list, tuple)):
        return np
    import torch

    if isinstance(boxes, torch.Tensor):
        return torch
    raise TypeError(f"boxes must be a NumPy array or a tensor, got {type(boxes).__name__}")


def _widen(xp: Any, values: Any) -> Any:
    """Convert half precision to float32, because areas of pixel boxes overflow it (65,504)."""
    if xp is np:
        return values.astype(np.float32) if values.dtype == np.float16 else values
    return values.float() if values.dtype in (xp.float16, xp.bfloat16) else values


def _close(result: Any, given: Array) -> Array:
    dtype = getattr(given, "dtype", None)
    half = str(dtype) in ("float16", "torch.float16", "torch.bfloat16")
    if not half:
        return result
    return result.astype(dtype) if isinstance(result, (np.ndarray, np.generic)) else result.to(dtype)


def _columns(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _positive(xp: Any, values: Any) -> Any:
    return values.clip(min=0) if xp is not np else np.maximum(values, 0)


def _scale(xp: Any, boxes: Any, image_size: Any) -> Any:
    """Return (width, height, width, height), broadcastable to ``boxes`` and of the same type."""
    if isinstance(image_size, (tuple, list)) and len(image_size) == 2 and not hasattr(image_size[0], "__len__"):
        height, width = image_size
        if height <= 0 or width <= 0:
            raise ValueError(f"image_size must be (height, width) in pixels, both positive, got {image_size}")
        numbers = [width, height, width, height]
        return np.array(numbers, boxes.dtype) if xp is np else boxes.new_tensor(numbers)
    if xp is np or not hasattr(image_size, "detach"):
        image_size = np.asarray(image_size)
        if not (image_size > 0).all():
            raise ValueError(f"image_size must be (height, width) in pixels, both positive, got {image_size.tolist()}")
    leading = tuple(boxes.shape[:-2])
    if image_size.shape != (2,) and tuple(image_size.shape) != (*leading, 2):
        raise ValueError(
            f"image_size must have shape (2,) or {(*leading, 2)} for boxes {tuple(boxes.shape)}, "
            f"got {tuple(image_size.shape)}"
        )
    sizes = np.asarray(image_size, boxes.dtype) if xp is np else xp.as_tensor(image_size).to(boxes)
    height, width = sizes[..., 0], sizes[..., 1]
    scale = xp.stack([width, height, width, height], -1)
    return scale if scale.ndim == 1 else scale[..., None, :]


def _of_all_pairs(overlap: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    if isinstance(a, (list, tuple)):
        a = np.asarray(a)
    if isinstance(b, (list, tuple)):
        b = np.asarray(b)
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"boxes must have shape (..., N, 4), got {tuple(a.shape)} and {tuple(b.shape)}")
    if overlap is not diou and _kernel_takes(a, b):
        return _fused(a, b, generalized=overlap is giou)
    return overlap(a[..., :, None, :], b[..., None, :, :])


def _kernel_takes(a: Array, b: Array) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    from mot_core.ops import choice

    return choice.use_kernels(a) and a.numel() > 0 and b.numel() > 0


def _fused(a: Any, b: Any, generalized: bool) -> Array:
    """Compute the overlap in one kernel, which supports one leading dimension."""
    import torch

    from mot_core.ops.fused import pairwise_iou

    (_, a), (_, b) = _open(a, "a_xyxy"), _open(b, "b_xyxy")
    leading = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    flat = (boxes.expand(*leading, -1, -1).reshape(-1, *boxes.shape[-2:]) for boxes in (a, b))
    return pairwise_iou.forward(*flat, generalized).view(*leading, a.shape[-2], b.shape[-2])


def _iou_and_union(xp: Any, a: Any, b: Any) -> tuple[Any, Any]:
    ax1, ay1, ax2, ay2 = _columns(a)
    bx1, by1, bx2, by2 = _columns(b)
    width = _positive(xp, xp.minimum(ax2, bx2) - xp.maximum(ax1, bx1))
    height = _positive(xp, xp.minimum(ay2, by2) - xp.maximum(ay1, by1))
    intersection = width * height
    union = box_area(a) + box_area(b) - intersection
    return intersection / xp.where(union > 0, union, xp.ones_like(union)), union


def _hull(xp: Any, a: Any, b: Any) -> tuple[Any, Any]:
    ax1, ay1, ax2, ay2 = _columns(a)
    bx1, by1, bx2, by2 = _columns(b)
    width = xp.maximum(ax2, bx2) - xp.minimum(ax1, bx1)
    height = xp.maximum(ay2, by2) - xp.minimum(ay1, by1)
    return _positive(xp, width), _positive(xp, height)
