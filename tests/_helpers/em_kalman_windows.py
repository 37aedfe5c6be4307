"""Windows and model outputs shared by tests."""

import torch

from em_kalman import MotionModel, NKFOutput, WindowBatch
from mot_core.ops import kalman_filter

F64 = torch.float64


def make_window(frames=6, objects=5, speed=6.0, seed=0, batch=1, dtype=F64):
    """Create straight tracks with shuffled detections and their true identities."""
    rng = torch.Generator().manual_seed(seed)
    center = 100 + 600 * torch.rand(batch, 1, objects, 2, generator=rng, dtype=dtype)
    velocity = speed * torch.randn(batch, 1, objects, 2, generator=rng, dtype=dtype)
    center = center + velocity * torch.arange(frames)[None, :, None, None]
    center = center + torch.randn(batch, frames, objects, 2, generator=rng, dtype=dtype)
    height = 40 + 40 * torch.rand(batch, 1, objects, 1, generator=rng, dtype=dtype)
    half = torch.cat([height * 0.2, height / 2], -1)
    boxes = torch.cat([center - half, center + half], -1)
    order = torch.stack([torch.randperm(objects, generator=rng) for _ in range(batch * frames)])
    ids = order.view(batch, frames, objects)
    boxes = boxes.gather(2, ids[..., None].expand_as(boxes))
    size = torch.tensor([[800, 900]]).expand(batch, 2)
    number = torch.arange(1, frames + 1).expand(batch, frames)
    return WindowBatch(boxes, torch.ones_like(ids, dtype=torch.bool), size, number, gt_ids=ids)


def true_assoc(batch):
    """Return the one-hot associations of the true identities; objects are the detections of frame 0."""
    return (batch.gt_ids[:, :1, :, None] == batch.gt_ids[:, :, None]).to(F64)


def output_for(batch, assoc, motion=None, layout="decoupled"):
    """Return the model output for the given associations."""
    motion = motion or MotionModel()
    boxes = batch.boxes_xyxy
    points = (boxes[..., :2] + boxes[..., 2:]) / 2
    heights = boxes[..., 3] - boxes[..., 1]
    noise = motion.measurement_noise(heights if layout == "joint" else heights[:, 0])
    result = kalman_filter(
        points,
        assoc,
        points[:, 0],
        process_noise=motion.process_noise(heights[:, 0]),
        measurement_noise=noise,
        initial_variance=motion.initial_variance(heights[:, 0]),
        dt=motion.dt,
        layout=layout,
    )
    unexplained = (1 - assoc.sum(2)).clamp(min=0)
    log_plan = torch.full((*assoc.shape[:1], assoc.shape[1] - 1, *assoc.shape[2:]), -1e9, dtype=F64)
    origin = torch.zeros(len(points), 1, 1, 2)
    return NKFOutput(log_plan, log_plan, assoc, unexplained, points, origin, result, noise)
