"""Weights of the spatial and the temporal term."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.unitrack_clips import noisy, perfect, switched, walking
from unitrack_loss import UniTrackLoss, flow, ground_truth_graph, laplacian_weights

LEAST = 1 / (1.05 / 0.05 + 1)


def weights(clip, window=5, **options):
    return laplacian_weights(clip, flow(clip), ground_truth_graph(clip.det_gt, clip.valid), window, **options)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    frames=st.integers(2, 6),
    count=st.sampled_from([0, 1, 2, 7]),
    objects=st.sampled_from([0, 1, 4]),
    seed=st.integers(0, 10**6),
    window=st.integers(2, 6),
)
def test_weights_sum_to_one_within_bounds(window, **shape):
    clip = noisy(clips=2, **shape)
    spatial, temporal = weights(clip, window)
    assert spatial.shape == (2, max(shape["frames"] - window, 0) + 1)
    torch.testing.assert_close(spatial + temporal, torch.ones_like(spatial))
    assert (spatial >= LEAST - 1e-9).all()
    assert (spatial <= 1 - LEAST + 1e-9).all()


def test_no_gradient():
    clip = noisy()
    clip.boxes_xyxy.requires_grad_()
    assert not any(weight.requires_grad for weight in weights(clip))


def test_broken_flow_raises_the_temporal_weight():
    whole = perfect(walking(), affinity="embed")
    assert weights(switched(whole, 2))[1] > weights(whole)[1] + 0.005
    apart = replace(whole, embed=torch.cat([whole.embed[:, :2], -whole.embed[:, 2:]], 1))
    assert weights(apart)[1] > weights(switched(whole, 2))[1]


def test_distant_objects_raise_the_spatial_weight():
    near = perfect(walking() / 20 + 200)
    middle, far = perfect(walking() / 4 + 200), perfect(walking())
    found = [weights(clip)[0].item() for clip in (near, middle, far)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert found[2] > 0.8


def test_equal_weights_for_fully_connected_graphs():
    spatial, temporal = weights(perfect(torch.full((5, 4, 2), 100.0)))
    assert spatial.item() == pytest.approx(0.5)
    assert temporal.item() == pytest.approx(0.5)


@pytest.mark.parametrize(("mode", "value"), [("fixed", 0.5), ("none", 1.0)])
def test_other_modes(mode, value):
    spatial, temporal = weights(noisy(clips=2, frames=7), mode=mode)
    assert (spatial == value).all()
    assert (temporal == value).all()
    assert spatial.shape == (2, 3)
    assert UniTrackLoss("paper", weights=mode)(noisy()).lambda_s == value
