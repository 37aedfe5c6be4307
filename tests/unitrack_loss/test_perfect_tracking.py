"""Zero loss for perfect tracking, and a positive loss for every error."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from _helpers.unitrack_clips import perfect, switched, walking
from unitrack_loss import UniTrackLoss, edges_over, flow, ground_truth_graph

T = torch.arange(5.0)[:, None]


def crossing():
    """Return two objects at the same position in the middle frame."""
    return torch.stack([torch.cat([200 + 50 * T, 200 + 0 * T], 1), torch.cat([400 - 50 * T, 200 + 0 * T], 1)], 1)


def accelerating():
    return torch.stack([torch.cat([100 + 20 * T**2, 300 - 10 * T**2], 1), torch.cat([500 - 3 * T**3, 60 + T], 1)], 1)


def gone(ids):
    """Return identities with exits and births; other objects stay."""
    ids[3:, 0] = -1
    ids[:2, 1] = -1
    return ids


IDS = torch.arange(4).expand(5, 4)
CASES = {
    "walking": (walking(), None),
    "crossing": (crossing(), None),
    "accelerating": (accelerating(), None),
    "exit and birth": (walking(), gone(IDS.clone())),
    "gap": (walking(), IDS.clone().index_put((torch.tensor(2), torch.tensor(1)), torch.tensor(-1))),
    "two frames": (walking(2), None),
    "one object": (walking(count=1), None),
    "long": (walking(12), None),
}


@pytest.mark.parametrize("name", CASES)
def test_perfect_tracking_has_zero_loss(name):
    output = UniTrackLoss("paper")(perfect(*CASES[name]).validate())
    for term in ("total", "flow", "spatial", "temporal", "conservation", "net_residual"):
        assert 0 <= getattr(output, term) < 1e-6, term
    for rate in ("quality", "id_accuracy", "edge_flow"):
        assert getattr(output, rate) == 1, rate


@pytest.mark.parametrize("name", CASES)
def test_flow_is_conserved(name):
    clip = perfect(*CASES[name])
    strength, graph = flow(clip).flow, ground_truth_graph(clip.det_gt, clip.valid)
    torch.testing.assert_close(strength.sum(3), graph.outgoing[:, :-1].float())
    torch.testing.assert_close(strength.sum(2), graph.incoming[:, 1:].float())
    born, ended = graph.balance == 1, graph.balance == -1
    assert torch.equal(born, (graph.outgoing > 0) & (graph.incoming == 0))
    assert torch.equal(ended, (graph.outgoing == 0) & (graph.incoming > 0))


def test_switch_raises_every_identity_term():
    right = perfect(walking(), affinity="embed")
    good, bad = UniTrackLoss("paper")(right), UniTrackLoss("paper")(switched(right, 2))
    for term in ("total", "flow", "spatial", "temporal"):
        assert getattr(bad, term) > getattr(good, term) + 1e-3, term
    assert bad.id_accuracy == 1 - 2 / 16


@pytest.mark.parametrize("affinity", ["embed", "assoc"])
def test_loss_increases_with_switches(affinity):
    right = perfect(walking(), affinity=affinity)
    costs = [UniTrackLoss("paper")(switched(right, *range(1, 1 + n))).total.item() for n in range(4)]
    assert all(more > less + 1 for less, more in pairwise(costs))
    if affinity == "embed":  # expected order of magnitude: 0.06, 11, 23 and 34
        assert costs == pytest.approx([0.0578, 12.3, 24.3, 36.3], rel=0.05)


@pytest.mark.parametrize("settings", [{}, {"flow_form": "linear"}, {"window": 3}, {"weights": "fixed"}], ids=str)
def test_detector_errors_raise_the_loss(settings):
    right = perfect(walking())
    loss = UniTrackLoss("paper", **settings)
    best = loss(right).total

    def total(**changed):
        return loss(replace(right, **changed)).total

    false = right.det_gt.clone()
    false[..., 3] = -1  # a person becomes a persistent false positive without an object
    ids = right.gt_ids.clone()
    ids[..., 3] = -1
    assert total(det_gt=false, gt_ids=ids) > best + 0.1
    valid = right.valid.clone()
    valid[0, 2, 1] = False
    assert total(valid=valid, det_gt=right.det_gt.where(valid, -1)) > best + 0.1
    logits = right.logits.clone()
    logits[0, 2, 1] = -4
    assert total(logits=logits) > best + 0.1
    noise = torch.randn(right.boxes_xyxy.shape, generator=torch.Generator().manual_seed(0)) * 8
    assert total(boxes_xyxy=right.boxes_xyxy + noise) > best + 0.02


@pytest.mark.parametrize("form", ["log", "linear"])
def test_spurious_tracks_never_lower_the_total(form):
    """The published code divides by the number of predicted tracks, so 40 more lowered 10.0 to 2.19."""
    wrong = switched(perfect(walking(), affinity="embed"), 1, 2)
    costs = []
    for spurious in (0, 5, 40):
        generator = torch.Generator().manual_seed(1)
        centers = torch.rand(1, 1, spurious, 2, generator=generator) * 400 + 40
        boxes = torch.cat([centers - 10, centers + 10], -1).expand(1, 5, spurious, 4)
        embed = torch.randn(1, 1, spurious, 8, generator=generator).expand(1, 5, spurious, 8)
        clip = replace(
            wrong,
            boxes_xyxy=torch.cat([wrong.boxes_xyxy, boxes], 2),
            logits=torch.cat([wrong.logits, torch.full((1, 5, spurious), 3.0)], 2),
            valid=torch.cat([wrong.valid, torch.ones(1, 5, spurious, dtype=torch.bool)], 2),
            det_gt=torch.cat([wrong.det_gt, torch.full((1, 5, spurious), -1)], 2),
            embed=torch.cat([wrong.embed, embed], 2),
        )
        costs.append(UniTrackLoss("paper", flow_form=form)(clip).total.item())
    assert costs == sorted(costs)


def test_paper_form_is_not_zero_for_perfect_tracking():
    """The paper's form, kept for ablations, sums minus the flow and penalizes every movement."""
    output = UniTrackLoss("paper", reference="paper", flow_form="linear", log_norm=False, weights="none")(
        perfect(walking())
    )
    assert output.flow.item() == pytest.approx(-16)
    assert output.spatial > 1
    assert output.total < 0


def test_longer_time_step_reduces_the_temporal_term():
    """Acceleration and weight both scale with the time step."""
    wrong = switched(perfect(walking(), affinity="embed"), 2)
    near = UniTrackLoss("paper")(wrong).temporal
    far = UniTrackLoss("paper")(replace(wrong, frame_stride=torch.tensor([3.0]))).temporal
    assert 0 < far < near / 3


def test_switch_behind_an_occlusion_requires_max_gap():
    """Consecutive frames do not show the switch; before and after the gap all edges are correct."""
    ids = IDS.clone()
    ids[2, :2] = -1
    right = perfect(walking(), ids, affinity="embed")
    wrong = switched(right, 3)

    def extra(**settings):
        loss = UniTrackLoss("paper", **settings)
        return (loss(wrong).flow - loss(right).flow).item()

    assert extra() == pytest.approx(0, abs=1e-6)
    assert extra(max_gap=2) > 1
    assert UniTrackLoss("paper", max_gap=2)(right).total < 0.2
    with pytest.raises(ValueError, match="assoc_logits: expected max_gap=1, got a gap of 2"):
        UniTrackLoss("paper", max_gap=2)(perfect(walking()))


def test_edges_over_gaps():
    ids = torch.tensor([[[1, 2], [1, -1], [2, 1], [3, 2]]])
    valid = torch.ones(1, 4, 2, dtype=torch.bool)
    assert edges_over(ids, valid, 2).nonzero().tolist() == [
        [0, 0, 1, 0]
    ]  # identity 2 from frame 0 to 2; 1 is detected in between
    assert not edges_over(ids, valid, 3).any()
    valid[0, 2, 0] = False
    assert edges_over(ids, valid, 3).nonzero().tolist() == [[0, 0, 1, 1]]
