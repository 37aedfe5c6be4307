"""Test clips for the loss: perfect tracking of synthetic motion, and random clips."""

from dataclasses import replace

import torch

from unitrack_loss import TrackClip

SIZE = torch.tensor([[480, 640]])


def boxes_at(centers, width=20.0, height=40.0):
    half = torch.tensor([width, height], dtype=centers.dtype) / 2
    return torch.cat([centers - half, centers + half], -1)


def perfect(centers, ids=None, dtype=torch.float32, affinity="assoc"):
    """Create a clip of perfect detections; an object is visible in the frames where its identity is not -1.

    Args:
        centers: ``(T, N, 2)``.
        ids: ``(T, N)``.
        dtype: of all numbers.
        affinity: "assoc" (of 60 and -60), "embed" (one axis per identity) or "boxes".
    """
    boxes = boxes_at(centers.to(dtype))[None]
    frames, count = centers.shape[:2]
    ids = (torch.arange(count).expand(frames, count) if ids is None else ids)[None]
    clip = TrackClip(boxes, torch.full(ids.shape, 20.0, dtype=dtype), ids >= 0, ids, boxes, ids, SIZE)
    same = (ids[:, :-1, :, None] == ids[:, 1:, None, :]) & (ids[:, :-1, :, None] >= 0)
    if affinity == "assoc":
        return replace(clip, assoc_logits=torch.where(same, 60.0, -60.0).to(dtype))
    if affinity == "embed":
        return replace(clip, embed=torch.eye(max(count, 8), dtype=dtype)[ids.clamp(min=0)])
    return clip


def walking(frames=5, count=4, seed=0):
    """Return centers ``(T, N, 2)`` of distant objects that move straight."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.stack([60.0 + 130 * torch.arange(count), torch.rand(count, generator=generator) * 200 + 100], -1)
    speed = torch.randn(count, 2, generator=generator) * 6
    return start + speed * torch.arange(frames)[:, None, None]


def noisy(clips=1, frames=5, count=4, objects=4, affinity="embed", seed=0, dtype=torch.float64, spread=1.0):
    """Create a random clip of boxes, scores and assignments, with arbitrary identities and empty slots."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    pool = torch.randint(0, 10**6, (clips, 1, max(objects, 1)), generator=generator) * 7
    pool = (pool + torch.arange(max(objects, 1))).expand(-1, frames, -1)[..., :objects]
    # Objects are in random order and absent in some frames.
    order = rand(clips, frames, objects).argsort(-1)
    gt_ids = pool.gather(2, order).masked_fill(rand(clips, frames, objects) < 0.2, -1)
    gt_boxes = boxes_at(rand(clips, frames, objects, 2) * 400 + 40, 25, 50)
    # The tracker has found some of them, in random order.
    found = rand(clips, frames, max(objects, count)).argsort(-1)[..., :count]
    padded = torch.nn.functional.pad(gt_ids, (0, max(count - objects, 0)), value=-1)
    det_gt = padded.gather(2, found).masked_fill(rand(clips, frames, count) < 0.1, -1)
    valid = rand(clips, frames, count) < 0.85
    clip = TrackClip(
        boxes_at(rand(clips, frames, count, 2) * 400 + 40, 22, 45).to(dtype),
        ((rand(clips, frames, count) - 0.4) * 6 * spread).to(dtype),
        valid,
        det_gt.where(valid, -1),
        gt_boxes.to(dtype),
        gt_ids,
        SIZE.expand(clips, 2),
        frame_stride=1 + rand(clips) * 3,
    )
    if affinity == "embed":
        return replace(clip, embed=(rand(clips, frames, count, 6) - 0.5).to(dtype))
    if affinity == "assoc":
        pairs = rand(clips, max(frames - 1, 0), count, count)
        return replace(clip, assoc_logits=((pairs - 0.5) * 8 * spread).to(dtype))
    return clip


def swap_rows(values, start, a=0, b=1):
    """Swap two detections from frame ``start`` on."""
    order = torch.arange(values.shape[2])
    order[[a, b]] = order[[b, a]]
    return torch.cat([values[:, :start], values[:, start:, order]], 1)


def switched(clip, *starts):
    """Switch the identities of the first two objects in the flow at frames ``starts``."""
    for start in starts:
        if clip.embed is not None:
            clip = replace(clip, embed=swap_rows(clip.embed, start))
        else:
            links = clip.assoc_logits.clone()
            links[:, start - 1, [0, 1]] = links[:, start - 1, [1, 0]]
            clip = replace(clip, assoc_logits=links)
    return clip


def needing_gradient(clip):
    """Return a copy with leaf tensors that require a gradient, and these by name."""
    names = ["boxes_xyxy", "logits", "embed", "assoc_logits"]
    leaves = {n: getattr(clip, n).clone().requires_grad_() for n in names if getattr(clip, n) is not None}
    return replace(clip, **leaves), leaves


def chosen(clip, order):
    """Select the detections of every frame at ``order (B, T, n)``."""

    def rows(values):
        return None if values is None else values[torch.arange(len(order))[:, None, None], FRAMES[:t, None], order]

    t = order.shape[1]
    links = clip.assoc_logits
    if links is not None:
        links = links.gather(2, order[:, :-1, :, None].expand(-1, -1, -1, links.shape[3]))
        links = links.gather(3, order[:, 1:, None, :].expand(-1, -1, order.shape[2], -1))
    names = ("boxes_xyxy", "logits", "valid", "det_gt", "embed")
    return replace(clip, **{name: rows(getattr(clip, name)) for name in names}, assoc_logits=links)


FRAMES = torch.arange(100)


def padded(clip, extra, garbage=float("nan")):
    """Add ``extra`` padded slots and objects to every frame, filled with ``garbage``."""

    def pad(values, fill, dims):
        if values is None:
            return None
        ends = (0, 0, 0, extra) if dims == "rows of four" else (0, extra)
        return torch.nn.functional.pad(values, ends if dims != "both" else (0, extra, 0, extra), value=fill)

    return replace(
        clip,
        boxes_xyxy=pad(clip.boxes_xyxy, garbage, "rows of four"),
        logits=pad(clip.logits, garbage, "rows"),
        valid=torch.nn.functional.pad(clip.valid, (0, extra), value=False),
        det_gt=pad(clip.det_gt, 7, "rows"),
        gt_boxes_xyxy=pad(clip.gt_boxes_xyxy, garbage, "rows of four"),
        gt_ids=pad(clip.gt_ids, -1, "rows"),
        embed=pad(clip.embed, garbage, "rows of four"),
        assoc_logits=pad(clip.assoc_logits, garbage, "both"),
    )
