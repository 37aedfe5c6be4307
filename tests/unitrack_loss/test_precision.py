"""Half precision and autocast: the loss is always computed in single precision."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from _helpers.unitrack_clips import needing_gradient, noisy, perfect, walking
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets
from unitrack_loss import TrackClip, UniTrackLoss, flow, track_clip
from unitrack_loss.converters import motr_frame


def converted(clip, dtype):
    floating = {n: v.to(dtype) for n, v in vars(clip).items() if v is not None and v.is_floating_point()}
    return replace(clip, **floating)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("affinity", ["embed", "assoc"])
def test_half_precision(dtype, affinity):
    clip = noisy(clips=2, affinity=affinity, dtype=torch.float32)
    half, leaves = needing_gradient(converted(clip, dtype))
    output = UniTrackLoss("paper")(half)
    assert output.total.dtype == torch.float32
    assert output.total.item() == pytest.approx(UniTrackLoss("paper")(clip).total.item(), rel=1e-2)
    output.total.backward()
    for name, leaf in leaves.items():
        assert leaf.grad.dtype == dtype
        assert leaf.grad.isfinite().all(), name


def test_identities_above_2048_stay_apart():
    """Half precision rounds 2049 to 2048, which merged identities in the published ByteTrack integration."""
    ids = torch.tensor([2048, 2049, 4097, 4098]).expand(5, 4)
    clip = converted(perfect(walking(), ids), torch.float16)
    assert UniTrackLoss("paper")(clip).num_edges == 16
    assert UniTrackLoss("paper")(clip).id_accuracy == 1


def test_autocast_has_no_effect():
    clip = noisy(dtype=torch.float32)
    plain = UniTrackLoss("paper")(clip).total, flow(clip).log_flow
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = UniTrackLoss("paper")(clip).total, flow(clip).log_flow
    assert torch.equal(plain[0], inside[0])
    assert torch.equal(plain[1], inside[1])


def test_mixed_types():
    clip = noisy(dtype=torch.float32)
    mixed = replace(clip, logits=clip.logits.double(), embed=clip.embed.bfloat16())
    assert UniTrackLoss("paper")(mixed).total.dtype == torch.float64
    assert UniTrackLoss("paper")(mixed).total.item() == pytest.approx(
        UniTrackLoss("paper")(clip).total.item(), rel=1e-2
    )


def test_single_precision_is_enough_for_many_padded_slots():
    """Padded nodes of a graph must not disturb the eigenvalues of the others."""
    clip = noisy(count=40, objects=40, dtype=torch.float32)
    clip = replace(clip, valid=clip.valid & (torch.arange(40) % 8 == 0))
    exact = UniTrackLoss("paper")(converted(clip, torch.float64))
    output = UniTrackLoss("paper")(clip)
    assert output.lambda_s.item() == pytest.approx(exact.lambda_s.item(), abs=2e-5)
    assert output.total.item() == pytest.approx(exact.total.item(), rel=1e-4)


def test_diverged_tracker_is_reported():
    clip = noisy(dtype=torch.float32)
    boxes = clip.boxes_xyxy.masked_fill(clip.valid[..., None], torch.nan)
    with pytest.raises(ValueError, match=r"boxes_xyxy: expected finite corners .* the tracker may have diverged"):
        UniTrackLoss("paper")(replace(clip, boxes_xyxy=boxes))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frames_in_half_precision_keep_the_size_of_the_image(dtype):
    frame = {
        "boxes_xyxy": torch.zeros(1, 4, dtype=dtype),
        "logits": torch.zeros(1, dtype=dtype),
        "det_gt": torch.tensor([4097]),
        "gt_boxes_xyxy": torch.zeros(1, 4),
        "gt_ids": torch.tensor([4097]),
    }
    clip = TrackClip.from_frames([frame] * 2, (2161, 3841), frame_stride=1.1)
    assert clip.image_size.tolist() == [[2161, 3841]]
    assert clip.frame_stride.item() == pytest.approx(1.1, rel=1e-6)
    assert UniTrackLoss("paper")(clip).num_edges == 1


def test_half_precision_boxes_become_single_precision_pixels():
    """bfloat16 represents 0.3984375, but neither its pixel coordinate 765 nor the corners."""
    box = torch.tensor([[[0.3984375, 0.5, 0.0078125, 0.25]]], dtype=torch.bfloat16)
    ids = torch.tensor([[5]])
    frame = FrameOutput(
        box,
        torch.zeros(1, 1, 1),
        ids > 0,
        torch.tensor([[1080, 1920]]),
        torch.tensor([1]),
        gt_index=torch.tensor([[0]]),
    )
    clip = track_clip(ClipOutput([frame], [FrameTargets(box, ids * 0, ids, ids > 0)]))
    assert clip.boxes_xyxy.flatten().tolist() == [757.5, 405, 772.5, 675]
    tracks = SimpleNamespace(
        pred_boxes=box[0], pred_logits=torch.zeros(1, 1), output_embedding=torch.zeros(1, 2), obj_idxes=ids[0],
        matched_gt_idxes=torch.tensor([0]),
    )  # fmt: skip
    found = motr_frame(tracks, SimpleNamespace(boxes=box[0], obj_ids=ids[0]), (1080, 1920))
    assert found["boxes_xyxy"].flatten().tolist() == [757.5, 405, 772.5, 675]
