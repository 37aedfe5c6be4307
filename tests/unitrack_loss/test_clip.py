"""Validation of clips and settings, and clips from frames."""

from dataclasses import replace

import pytest
import torch

from _helpers.unitrack_clips import noisy, perfect, walking
from unitrack_loss import Settings, TrackClip, UniTrackLoss, ground_truth_graph


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        (
            {"boxes_xyxy": torch.zeros(5, 4, 4)},
            ValueError,
            r"boxes_xyxy must .* \(B, T, N, 4\), got \(5, 4, 4\)",
        ),
        ({"boxes_xyxy": torch.zeros(1, 5, 4, 5)}, ValueError, r"\(B, T, N, 4\), got \(1, 5, 4, 5\)"),
        ({"logits": torch.zeros(1, 5, 3)}, ValueError, r"logits .* with B = 1, T = 5, N = 4, got \(1, 5, 3\)"),
        ({"gt_ids": torch.zeros(1, 5, 3).long()}, ValueError, r"gt_ids .* M = 4, got \(1, 5, 3\)"),
        ({"assoc_logits": torch.zeros(1, 5, 4, 4)}, ValueError, r"\(B, T-1, N, N\) with B = 1, T-1 = 4, N = 4"),
        ({"image_size": torch.tensor([480, 640])}, ValueError, r"image_size must have shape \(B, 2\) with B = 1"),
        ({"frame_stride": torch.ones(())}, ValueError, r"frame_stride must have shape \(B,\) with B = 1, got \(\)"),
        ({"embed": [1.0]}, TypeError, "embed must be a tensor, got list"),
        ({"valid": None}, TypeError, "valid must be a tensor, got NoneType"),
        ({"valid": torch.ones(1, 5, 4)}, TypeError, "valid must be bool, got torch.float32"),
        ({"det_gt": torch.zeros(1, 5, 4)}, TypeError, "det_gt must be int64, got torch.float32"),
        ({"gt_ids": torch.zeros(1, 5, 4).int()}, TypeError, "gt_ids must be int64, got torch.int32"),
        ({"logits": torch.zeros(1, 5, 4).long()}, TypeError, "logits must be floating, got torch.int64"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_tensors(changed, error, sentence):
    with pytest.raises(error, match=sentence):
        replace(perfect(walking()), **changed)


def test_wrong_values():
    good = perfect(walking()).validate()
    boxes = good.boxes_xyxy.clone()
    boxes[0, 1, 2] = torch.tensor([10.0, 10, 5, 20])
    with pytest.raises(ValueError, match=r"boxes_xyxy: .* got \[10.0, 10.0, 5.0, 20.0\] at row 2 in frame 1 of clip 0"):
        replace(good, boxes_xyxy=boxes).validate()
    valid = good.valid.clone()
    valid[0, 1, 2] = False
    replace(good, boxes_xyxy=boxes, valid=valid).validate()
    with pytest.raises(ValueError, match="logits: expected finite numbers, got nan at row 0 in frame 0 of clip 0"):
        replace(good, logits=good.logits * torch.nan).validate()
    twice = good.det_gt.clone()
    twice[0, 3, 1] = 0
    with pytest.raises(ValueError, match=r"det_gt: .* got 0 twice in frame 3 of clip 0; keep the best"):
        replace(good, det_gt=twice).validate()
    with pytest.raises(ValueError, match=r"gt_ids: .* got 0 twice in frame 3 of clip 0"):
        replace(good, gt_ids=twice).validate()
    with pytest.raises(ValueError, match=r"det_gt: .* gt_ids .* \[0, 1, 2, 3\], got 10 in frame 0"):
        replace(good, det_gt=good.det_gt + 10).validate()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("boxes_xyxy", torch.inf, "boxes_xyxy: expected finite corners"),
        ("logits", -torch.inf, "logits: expected finite numbers, got -inf at row 1 in frame 1 of clip 0"),
        ("gt_boxes_xyxy", torch.nan, "gt_boxes_xyxy: expected finite corners .* correct the ground truth"),
        ("embed", torch.inf, "embed: expected finite numbers, got .*inf.* at row 1"),
        ("image_size", 0, r"image_size: expected height and width in pixels, got \[480, 0\] in clip 0"),
        ("frame_stride", 0, "frame_stride: expected a positive number of frames, got 0 in clip 0"),
        ("frame_stride", torch.nan, "frame_stride: expected a positive number of frames, got nan in clip 0"),
        ("assoc_logits", torch.inf, "assoc_logits: expected finite numbers, got inf at row 1 in frame 1"),
    ],
)
def test_loss_rejects_values_from_which_nothing_can_be_learned(name, value, sentence):
    clip = noisy(affinity="assoc" if name == "assoc_logits" else "embed", seed=3)
    clip = replace(clip, valid=torch.ones_like(clip.valid), det_gt=torch.full_like(clip.det_gt, -1))
    changed = getattr(clip, name).clone()
    place = {1: (0,), 2: (0, 1)}.get(changed.ndim, (0, 1, 1))
    changed[place] = value
    with pytest.raises(ValueError, match=sentence):
        UniTrackLoss("paper")(replace(clip, **{name: changed}))


def frames_of(clip):
    """Return one dict per frame, without padding."""
    frames = []
    for t in range(clip.logits.shape[1]):
        here, objects = clip.valid[0, t], clip.gt_ids[0, t] >= 0
        frame = {name: getattr(clip, name)[0, t][here] for name in ("boxes_xyxy", "logits", "det_gt", "embed")}
        for name in ("gt_boxes_xyxy", "gt_ids"):
            frame[name] = getattr(clip, name)[0, t][objects]
        frames.append(frame)
    return frames


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_from_frames(frames):
    clip = noisy(frames=frames, count=6, seed=frames)
    built = TrackClip.from_frames(frames_of(clip), (480, 640), frame_stride=clip.frame_stride.item())
    assert UniTrackLoss("paper")(built).total.item() == pytest.approx(UniTrackLoss("paper")(clip).total.item())
    assert built.validate().valid.sum() == clip.valid.sum() < clip.valid.numel()


def test_from_frames_with_associations():
    clip = noisy(affinity="assoc", seed=3)
    with_embed = frames_of(replace(clip, embed=torch.zeros(1, 5, 4, 1)))
    frames = [{name: value for name, value in frame.items() if name != "embed"} for frame in with_embed]
    pairs = [clip.assoc_logits[0, t][clip.valid[0, t]][:, clip.valid[0, t + 1]] for t in range(4)]
    built = TrackClip.from_frames(frames, (480, 640), clip.frame_stride.item(), pairs)
    assert UniTrackLoss("paper")(built).total.item() == pytest.approx(UniTrackLoss("paper")(clip).total.item())
    with pytest.raises(ValueError, match="assoc_logits: expected one per pair of frames, 4, got 3"):
        TrackClip.from_frames(frames, (480, 640), assoc_logits=pairs[:3])
    assert TrackClip.from_frames(frames[:1], (480, 640), assoc_logits=[]).assoc_logits.shape[:2] == (1, 0)


def test_from_frames_names_missing_tensors():
    with pytest.raises(ValueError, match="frames: expected at least one frame, got none"):
        TrackClip.from_frames([], (480, 640))
    frames = frames_of(noisy())
    del frames[2]["gt_ids"]
    with pytest.raises(ValueError, match="frame 2: expected gt_ids too, got only boxes_xyxy, logits"):
        TrackClip.from_frames(frames, (480, 640))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 1}, "window must be at least 2 frames, got 1"),
        ({"tau": 0}, "tau must be a finite number above 0, got 0"),
        ({"alpha": float("nan")}, "alpha must be a finite number of at least 0, got nan"),
        ({"tau": float("inf")}, "tau must be a finite number above 0, got inf"),
        ({"null": float("nan")}, "null must be a finite number or None, got nan"),
        ({"flow_form": "square"}, "flow_form must be one of log, linear, got 'square'"),
        ({"max_gap": 0}, "max_gap must be from 1 to 4, less than window, got 0"),
        ({"max_gap": 3, "window": 3}, "max_gap must be from 1 to 2, less than window, got 3"),
        ({"max_laplacian_nodes": 1}, "max_laplacian_nodes must be at least 2, got 1"),
    ],
)
def test_wrong_settings(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Settings(**options)
    with pytest.raises(TypeError, match="sigma"):
        UniTrackLoss("paper", sigma=1)


def test_births_and_terminations():
    ids = torch.tensor([[[7, 8], [8, -1], [8, 9]]])
    valid = torch.tensor([[[True, True], [True, True], [True, False]]])
    graph = ground_truth_graph(ids, valid)
    assert graph.edges.nonzero().tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert graph.balance.tolist() == [[[0, 1], [0, 0], [-1, 0]]]
    assert not ground_truth_graph(torch.full((1, 3, 2), -1), valid).edges.any()


def test_repr_of_settings():
    assert (
        repr(UniTrackLoss("paper", window=3, flow_form="linear"))
        == "UniTrackLoss(preset='paper', window=3, flow_form='linear')"
    )
