"""Loss against a reference in plain loops over clips, windows, frames and objects."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.unitrack_clips import noisy, perfect, switched, walking
from _helpers.unitrack_reference import reference
from unitrack_loss import UniTrackLoss, flow, ground_truth_graph, laplacian_weights


def assert_equals_loops(clip, **options):
    output, expected = UniTrackLoss("paper", **options)(clip), reference(clip, **options)
    for name, value in expected.items():
        assert getattr(output, name).item() == pytest.approx(value, rel=1e-6, abs=1e-9), name


SHAPES = {
    "clips": st.integers(0, 3),
    "frames": st.integers(1, 7),
    "count": st.sampled_from([0, 1, 2, 5]),
    "objects": st.sampled_from([0, 1, 2, 6]),
    "affinity": st.sampled_from(["embed", "assoc", "boxes"]),
    "seed": st.integers(0, 10**6),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**SHAPES, window=st.integers(2, 6))
def test_any_clip(window, **shape):
    assert_equals_loops(noisy(**shape), window=window)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(**{**SHAPES, "affinity": st.sampled_from(["embed", "boxes"])}, longest=st.integers(2, 5))
def test_edges_over_gaps(longest, **shape):
    assert_equals_loops(noisy(**shape), window=longest + 1, max_gap=longest)
    assert_equals_loops(noisy(**shape), window=6, max_gap=longest, flow_form="linear")


@pytest.mark.parametrize(
    "options",
    [
        {"flow_form": "linear"},
        {"weights": "fixed"},
        {"weights": "none"},
        {"log_norm": False},
        {"gate_confidence": False},
        {"alpha": 0.3, "tau": 0.4, "null": -1.0},
        {"flow_weight": 0.0, "spatial_weight": 2.0, "temporal_weight": 3.0, "conservation_weight": 0.5},
        {"eps_lambda": 0.2, "spatial_sigma": 0.3, "confidence_threshold": 0.2},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("affinity", ["embed", "assoc", "boxes"])
def test_every_setting(options, affinity):
    clip = noisy(clips=2, frames=6, count=5, objects=4, affinity=affinity, seed=4)
    assert_equals_loops(clip, **options)
    assert reference(clip, **options)["total"] != pytest.approx(reference(clip)["total"], rel=1e-5), "no influence"


@pytest.mark.parametrize("affinity", ["embed", "assoc", "boxes"])
def test_good_clips(affinity):
    """Nearly perfect clips, where large values do not hide differences."""
    clip = perfect(walking(), dtype=torch.float64, affinity=affinity)
    assert_equals_loops(clip)
    if affinity != "boxes":
        assert_equals_loops(switched(clip, 2))


def test_spatial_graph_of_the_most_confident_detections():
    clip = noisy(clips=2, frames=4, count=6, seed=1)
    rank = clip.logits.masked_fill(~clip.valid, -torch.inf).argsort(-1, descending=True).argsort(-1)
    less = replace(clip, valid=clip.valid & (rank < 3))
    others = flow(clip), ground_truth_graph(clip.det_gt, clip.valid), 3
    torch.testing.assert_close(laplacian_weights(clip, *others, max_nodes=3), laplacian_weights(less, *others))
    assert not torch.equal(laplacian_weights(clip, *others)[0], laplacian_weights(less, *others)[0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**SHAPES)
def test_flow_is_never_more_than_one(**shape):
    strength = flow(noisy(**shape, spread=5.0)).flow
    assert (strength >= 0).all()
    assert (strength.sum(2) <= 1 + 1e-12).all()
    assert (strength.sum(3) <= 1 + 1e-12).all()
