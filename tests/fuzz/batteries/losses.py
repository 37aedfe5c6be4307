"""UniTrack and em-kalman: random clips against plain loops, and damaged input against a clear error."""

from dataclasses import replace

import pytest
import torch

from _helpers.unitrack_clips import needing_gradient, noisy
from _helpers.unitrack_reference import reference
from em_kalman import EMKalmanLoss, NeuralKalmanFilter, WindowBatch
from fuzz.damage import one_of, outcome
from unitrack_loss import UniTrackLoss


def case(rng, folder):
    one_of(rng, [_unitrack, _damaged_unitrack, _em_kalman])(rng)


def _clip(rng):
    return noisy(
        clips=int(rng.integers(1, 3)),
        frames=int(rng.integers(1, 7)),
        count=int(rng.integers(0, 6)),
        objects=int(rng.integers(0, 6)),
        affinity=one_of(rng, ["embed", "assoc", "boxes"]),
        seed=int(rng.integers(2**31)),
        spread=one_of(rng, [0.1, 1.0, 10.0]),
    )


def _unitrack(rng):
    clip = _clip(rng)
    window = int(rng.integers(2, 7))
    options = {
        "window": window,
        "flow_form": one_of(rng, ["log", "linear"]),
        "weights": one_of(rng, ["laplacian", "fixed", "none"]),
        "alpha": rng.uniform(0, 2),
        "tau": rng.uniform(0.05, 1),
        "log_norm": bool(rng.integers(2)),
        "gate_confidence": bool(rng.integers(2)),
        "max_gap": 1 if clip.assoc_logits is not None else int(rng.integers(1, window)),
    }
    output = UniTrackLoss(**options)(clip)
    for name, value in reference(clip, **options).items():
        assert getattr(output, name).item() == pytest.approx(value, rel=1e-6, abs=1e-9), name
    live, leaves = needing_gradient(clip)
    UniTrackLoss(**options)(live).total.backward()
    for leaf in leaves.values():
        assert leaf.grad is None or leaf.grad.isfinite().all()


def _damaged_unitrack(rng):
    clip = _clip(rng)
    names = ["boxes_xyxy", "logits", "gt_boxes_xyxy", "embed", "assoc_logits", "image_size", "frame_stride"]
    names = [name for name in [*names, "det_gt", "gt_ids"] if getattr(clip, name) is not None]
    name = one_of(rng, names)
    value = getattr(clip, name).clone()
    if not value.numel():
        return
    flat = value.view(-1)
    at = int(rng.integers(flat.numel()))
    whole = not value.is_floating_point()
    flat[at] = one_of(rng, [-5, 3, 10**6]) if whole else one_of(rng, [float("nan"), float("inf"), -1e30, 1e30, 0.0])
    damaged = replace(clip, **{name: value})
    output, error = outcome(UniTrackLoss(), damaged)
    if error is None and abs(float(flat[at])) < 1e20:
        assert not output.total.isnan(), f"{name} is {flat[at]}: NaN without an error"


def _em_kalman(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    clips, frames, count = int(rng.integers(1, 3)), int(rng.integers(2, 6)), int(rng.integers(0, 5))
    corner = torch.rand(clips, frames, count, 2, dtype=torch.float64) * 500
    boxes = torch.cat([corner, corner + 1 + 50 * torch.rand_like(corner)], -1)
    valid = torch.rand(clips, frames, count) < 0.8
    batch = WindowBatch(boxes, valid, torch.tensor([[480.0, 640.0]] * clips), torch.arange(frames).expand(clips, -1))
    network = NeuralKalmanFilter().double()
    loss = EMKalmanLoss()(network(batch), batch)["loss"]
    assert loss.isfinite()
    garbage = boxes.clone()
    garbage[~valid] = one_of(rng, [float("nan"), float("inf"), 1e30])
    other = replace(batch, boxes_xyxy=garbage)
    torch.testing.assert_close(EMKalmanLoss()(network(other), other)["loss"], loss, rtol=1e-9, atol=1e-9)
    if count and bool(valid.any()):
        garbage = boxes.clone()
        garbage[tuple(valid.nonzero()[0].tolist())] = one_of(rng, [float("nan"), float("inf")])
        _, error = outcome(lambda: EMKalmanLoss()(network(replace(batch, boxes_xyxy=garbage)), batch))
        assert error is not None
