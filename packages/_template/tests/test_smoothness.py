from importlib.metadata import entry_points

import pytest
import torch

from example_method import TrackSmoothness, TrackSmoothnessPlugin, track_smoothness
from mot_core.plugins import Plugins
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets, TrackerSpec


def reference(boxes_cxcywh, valid):
    """Reference with loops."""
    squares = []
    for track in range(boxes_cxcywh.shape[1]):
        for frame in range(1, len(boxes_cxcywh) - 1):
            if all(valid[frame + step, track] for step in (-1, 0, 1)):
                before, here, after = (boxes_cxcywh[frame + step, track, :2] for step in (-1, 0, 1))
                squares.append(float(((after - here) - (here - before)).square().sum()))
    return sum(squares) / len(squares) if squares else 0.0


@pytest.mark.parametrize(("frames", "tracks"), [(3, 1), (7, 5), (2, 4), (0, 3), (5, 0)])
def test_loss_matches_loops(frames, tracks):
    generator = torch.Generator().manual_seed(frames + tracks)
    boxes = torch.rand(frames, tracks, 4, generator=generator, dtype=torch.float64)
    valid = torch.rand(frames, tracks, generator=generator) < 0.8
    assert track_smoothness(boxes, valid).item() == pytest.approx(reference(boxes, valid))


def test_gradient():
    boxes = torch.rand(4, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(track_smoothness, boxes)


def test_padding_has_no_influence():
    boxes = torch.rand(4, 2, 4)
    valid = torch.tensor([True, False]).expand(4, 2)
    padded = boxes.masked_fill(~valid[..., None], torch.nan).requires_grad_()
    loss = track_smoothness(padded, valid)
    loss.backward()
    assert loss == track_smoothness(boxes[:, :1])
    assert padded.grad.isfinite().all()


def test_weight_of_the_module():
    boxes = torch.rand(4, 2, 4)
    assert TrackSmoothness(weight=2.0)(boxes) == 2 * track_smoothness(boxes)


def test_invalid_shapes_are_rejected():
    with pytest.raises(ValueError, match=r"boxes_cxcywh: expected shape \(T, N, 4\), got \(2, 4\)"):
        track_smoothness(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"valid: expected shape \(3, 2\), got \(3,\)"):
        track_smoothness(torch.zeros(3, 2, 4), torch.ones(3, dtype=torch.bool))


def test_plugin_groups_slots_by_identity():
    plugins = Plugins(TrackSmoothnessPlugin(weight=2.0))
    plugins.setup(TrackerSpec("test", frozenset({"ids", "live_boxes"})))
    boxes = torch.rand(4, 1, 3, 4, requires_grad=True)
    slots = torch.stack([torch.randperm(3) for _ in range(4)])  # the identity in each slot
    ids = torch.tensor([[5, 6, 9]])
    none = torch.zeros(1, 3, 1)
    frames = [
        FrameOutput(boxes[t], none, none[..., 0] == 0, torch.ones(1, 2), torch.tensor([t]), gt_index=slots[t][None])
        for t in range(4)
    ]
    targets = FrameTargets(torch.rand(1, 3, 4), ids, ids, ids > 0)
    losses = plugins.losses(ClipOutput(frames, [targets] * 4), plugins.start_clip(training=True))
    sorted_boxes = torch.stack([boxes[t, 0][slots[t].argsort()] for t in range(4)])
    assert losses["example_method/acceleration"].item() == pytest.approx(2 * track_smoothness(sorted_boxes).item())


def test_entry_point():
    (entry,) = entry_points(group="mot_core.plugins", name="example_method")
    assert entry.load() is TrackSmoothnessPlugin
