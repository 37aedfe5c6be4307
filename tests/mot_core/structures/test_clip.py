from dataclasses import replace

import pytest
import torch

from mot_core.structures import ClipOutput, FrameOutput, FrameTargets, TrackState


def frame(**changes):
    fields = {
        "boxes_cxcywh": torch.rand(2, 3, 4),
        "logits": torch.zeros(2, 3, 1),
        "valid": torch.ones(2, 3, dtype=torch.bool),
        "image_size": torch.tensor([[480, 640], [480, 512]]),
        "time": torch.tensor([12, 40]),
    }
    return FrameOutput(**{**fields, **changes})


def targets(objects=2):
    ids = torch.arange(objects).expand(2, objects)
    return FrameTargets(torch.rand(2, objects, 4), ids, ids, ids >= 0, {"depth": torch.rand(2, 1, 8, 8), "name": "a"})


def test_defaults():
    output = frame()
    assert not output.is_track.any()
    assert (output.track_ids == -1).all()
    assert (output.gt_index == -1).all()
    assert output.gt_index.dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": torch.ones(2, 4).bool()}, r"valid must be a tensor \(B, N\) of type bool with N = 3, got \(2, 4\)"),
        ({"valid": torch.ones(2, 3)}, r"valid must be a tensor \(B, N\) of type bool, got \(2, 3\) of type float32"),
        ({"track_ids": torch.ones(2, 3).double()}, r"track_ids must be .* type int64, got \(2, 3\) of type float64"),
        ({"boxes_cxcywh": torch.rand(2, 3, 5)}, r"boxes_cxcywh must be .* with 4 = 4, got \(2, 3, 5\)"),
        ({"boxes_cxcywh": torch.ones(2, 3, 4).long()}, r"boxes_cxcywh must be .* type float, got .* type int64"),
        ({"time": torch.tensor(3)}, r"time must be a tensor \(B\) of type int64, got \(\)"),
    ],
)
def test_invalid_shapes_and_types_are_rejected(changes, message):
    with pytest.raises(ValueError, match=f"FrameOutput: {message}"):
        frame(**changes)


def test_non_tensor_is_rejected():
    with pytest.raises(TypeError, match=r"FrameOutput: time must be a tensor \(B\) of type int64, got list"):
        frame(time=[1, 2])


def test_replace_validates():
    with pytest.raises(ValueError, match="embeddings must be"):
        replace(frame(), embeddings=torch.rand(2, 5, 8))


def test_numbers_of_frames_and_targets():
    other = frame(boxes_cxcywh=torch.rand(2, 0, 4), logits=torch.zeros(2, 0, 1), valid=torch.ones(2, 0).bool())
    assert len(ClipOutput([frame(), other]).frames) == 2
    with pytest.raises(ValueError, match="targets must be one per frame, got 1 for 2 frames"):
        ClipOutput([frame(), other], [targets()])
    with pytest.raises(ValueError, match="ClipOutput: expected at least one frame, got none"):
        ClipOutput([])


def test_extras_move_with_targets():
    moved = targets().to("meta")
    assert moved.ids.device.type == "meta"
    assert moved.extras["depth"].device.type == "meta"
    assert moved.extras["name"] == "a"


def test_lightning_moves_targets():
    apply = pytest.importorskip("lightning.fabric.utilities.apply_func")
    (moved,) = apply.move_data_to_device([targets()], torch.device("meta"))
    assert moved.boxes_cxcywh.device.type == "meta"


def test_invalid_track_state_is_rejected():
    ids = torch.zeros(1, 2, dtype=torch.int64)
    history = torch.zeros(1, 2, 5, 8)
    assert TrackState(ids, ids == 0, history=history).queries is None
    with pytest.raises(ValueError, match=r"history_valid must be .* with T = 5, got \(1, 2, 4\)"):
        TrackState(ids, ids == 0, history=history, history_valid=torch.ones(1, 2, 4).bool())
