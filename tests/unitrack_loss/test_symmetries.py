"""Invariance to order, identity labels, padding, units and batching, and empty clips."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.unitrack_clips import chosen, needing_gradient, noisy, padded, perfect, walking
from unitrack_loss import TrackClip, UniTrackLoss, unitrack_loss

SHAPES = {
    "frames": st.integers(1, 6),
    "count": st.sampled_from([0, 1, 2, 5]),
    "objects": st.sampled_from([0, 1, 4]),
    "affinity": st.sampled_from(["embed", "assoc", "boxes"]),
    "seed": st.integers(0, 10**6),
}
quick = settings(max_examples=30, deadline=None, derandomize=True)


def total(clip, **options):
    return UniTrackLoss("paper", **options)(clip).total.item()


@quick
@given(**SHAPES)
def test_permutation_invariance(**shape):
    clip, generator = noisy(clips=2, **shape), torch.Generator().manual_seed(shape["seed"])
    mixed = chosen(clip, torch.rand(clip.logits.shape, generator=generator).argsort(-1))
    order = torch.rand(clip.gt_ids.shape, generator=generator).argsort(-1)
    mixed = replace(
        mixed,
        gt_ids=clip.gt_ids.gather(2, order),
        gt_boxes_xyxy=clip.gt_boxes_xyxy.gather(2, order[..., None].expand(-1, -1, -1, 4)),
    )
    assert total(mixed) == pytest.approx(total(clip), rel=1e-9)


@quick
@given(**SHAPES)
def test_relabeling_invariance(**shape):
    clip = noisy(clips=2, **shape)

    def rename(ids):
        return torch.where(ids >= 0, 10**9 - 3 * ids, -1)

    assert total(replace(clip, det_gt=rename(clip.det_gt), gt_ids=rename(clip.gt_ids))) == total(clip)


@quick
@given(**SHAPES, garbage=st.sampled_from([1e6, -1e30, float("nan"), float("inf")]))
def test_padding(garbage, **shape):
    clip = noisy(clips=2, **shape)
    more, leaves = needing_gradient(padded(clip, 3, garbage))
    output = UniTrackLoss("paper")(more)
    assert output.total.item() == pytest.approx(total(clip), rel=1e-9)
    output.total.backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert leaf.grad.isfinite().all(), name
        assert not leaf.grad[..., shape["count"] :, :].any() or name == "logits"


@quick
@given(**SHAPES)
def test_scale_invariance(**shape):
    clip = noisy(clips=2, **shape)
    twice = replace(
        clip,
        boxes_xyxy=2 * clip.boxes_xyxy,
        gt_boxes_xyxy=2 * clip.gt_boxes_xyxy,
        image_size=2 * clip.image_size,
    )
    assert total(twice) == pytest.approx(total(clip), rel=1e-5)  # a denominator contains 1e-6 pixels


@quick
@given(**SHAPES)
def test_batch_is_the_mean_of_its_clips(**shape):
    """Average over clips with a pair; no state is kept between calls."""
    batch = noisy(clips=3, **shape)
    loss = UniTrackLoss("paper")
    single = []
    for row in range(3):
        fields = {name: value[row : row + 1] for name, value in vars(batch).items() if value is not None}
        single.append(loss(TrackClip(**fields)))
    counted = [one.total.item() for one in single if one.log_edges > 0]
    assert loss(batch).total.item() == pytest.approx(sum(counted) / max(len(counted), 1))
    assert loss(batch).total == loss(batch).total
    assert not loss.state_dict()


def test_function_equals_module():
    clip = noisy()
    tensors = {name: value for name, value in vars(clip).items() if value is not None}
    assert (
        unitrack_loss(preset="paper", **tensors, window=3, tau=0.2).total
        == UniTrackLoss("paper", window=3, tau=0.2)(clip).total
    )


EMPTY = {
    "no clips": lambda: noisy(clips=0),
    "no detections": lambda: noisy(count=0),
    "no objects": lambda: noisy(objects=0),
    "nothing at all": lambda: noisy(count=0, objects=0),
    "one frame": lambda: noisy(frames=1),
    "two frames": lambda: noisy(frames=2),
    "one object": lambda: noisy(count=1, objects=1),
    "all padded": lambda: replace(noisy(), valid=torch.zeros(1, 5, 4, dtype=torch.bool)),
    "an empty frame": lambda: replace(noisy(), valid=noisy().valid & (torch.arange(5) != 2)[:, None]),
    "nobody matched": lambda: replace(noisy(), det_gt=torch.full((1, 5, 4), -1)),
    "one place": lambda: perfect(torch.full((5, 4, 2), 200.0), affinity="boxes"),
    "flat": lambda: replace(noisy(), boxes_xyxy=noisy().boxes_xyxy[..., [0, 1, 0, 1]]),
    "flat objects": lambda: replace(noisy(), gt_boxes_xyxy=noisy().gt_boxes_xyxy[..., [0, 1, 0, 1]]),
    "flat and by geometry": lambda: replace(noisy(affinity="boxes"), boxes_xyxy=noisy().boxes_xyxy[..., [0, 1, 0, 1]]),
    "no embedding": lambda: replace(noisy(), embed=torch.zeros(1, 5, 4, 6)),
    "sure of itself": lambda: replace(noisy(affinity="assoc", spread=1e4), embed=None),
    "at one spot": lambda: replace(perfect(walking()), boxes_xyxy=torch.zeros(1, 5, 4, 4)),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["log", "linear"])
def test_minimal_clips_have_finite_gradients(name, dtype, form):
    made = EMPTY[name]()
    floating = {k: v.to(dtype) for k, v in vars(made).items() if v is not None and v.is_floating_point()}
    clip, leaves = needing_gradient(replace(made, **floating))
    output = UniTrackLoss("paper", flow_form=form)(clip)
    assert output.total.requires_grad
    output.total.backward()
    assert output.total.isfinite()
    for key, leaf in leaves.items():
        if key in ("boxes_xyxy", "logits"):  # distributed training requires a gradient of every parameter
            assert leaf.grad is not None, key
        assert leaf.grad is None or leaf.grad.isfinite().all(), key
    for key, value in vars(output).items():
        assert value.isfinite(), key


def test_single_frame_has_zero_loss():
    assert total(noisy(frames=1)) == 0
    assert total(noisy(count=0)) == 0
