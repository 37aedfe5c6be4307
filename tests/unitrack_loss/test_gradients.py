"""Gradients: correctness, coverage of all inputs and direction."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from _helpers.unitrack_clips import needing_gradient, noisy, perfect, switched, walking
from unitrack_loss import UniTrackLoss, flow, ground_truth_graph


@pytest.mark.parametrize("affinity", ["embed", "assoc", "boxes"])
@pytest.mark.parametrize("options", [{"window": 3}, {"flow_form": "linear"}], ids=str)
def test_finite_differences(affinity, options):
    """Weights, and confidences in two terms, are detached, so they are held fixed for finite differences."""
    clip, leaves = needing_gradient(noisy(frames=4, count=3, objects=3, affinity=affinity, seed=2, spread=0.4))
    names = list(leaves)

    def loss(**kept):
        return UniTrackLoss("paper", weights="fixed", **options, **kept)

    def total(module, *values):
        return module(replace(clip, **dict(zip(names, values, strict=True)))).total

    without = loss(spatial_weight=0.0, temporal_weight=0.0)
    assert torch.autograd.gradcheck(lambda *values: total(without, *values), tuple(leaves.values()))
    free = loss(flow_weight=0.0, conservation_weight=0.0, gate_confidence=False)
    assert torch.autograd.gradcheck(lambda *values: total(free, *values), tuple(leaves.values()))


@pytest.mark.parametrize("affinity", ["embed", "assoc", "boxes"])
def test_every_input_gets_a_gradient(affinity):
    clip, leaves = needing_gradient(noisy(clips=2, affinity=affinity))
    UniTrackLoss("paper")(clip).total.backward()
    for name, leaf in leaves.items():
        assert leaf.grad.isfinite().all(), name
        assert leaf.grad.abs().sum() > 1e-6, name


def test_localization_error_does_not_lower_confidence():
    """Confidences in the spatial and temporal term, weights and quality are detached."""
    clip, leaves = needing_gradient(switched(perfect(walking(), affinity="embed"), 2))
    clip = replace(clip, logits=clip.logits * 0.05)
    UniTrackLoss("paper", flow_weight=0.0, conservation_weight=0.0)(clip).total.backward()
    assert not leaves["logits"].grad.any()
    assert leaves["embed"].grad.any()


def test_only_the_total_has_a_gradient():
    output = UniTrackLoss("paper")(needing_gradient(noisy())[0])
    assert [name for name, value in vars(output).items() if value.requires_grad] == ["total"]


def test_log_form_has_a_gradient_after_a_switch():
    """With saturated logits, the paper's linear form has no gradient."""
    size = {}
    for form in ("log", "linear"):
        clip, leaves = needing_gradient(switched(perfect(walking()), 2))
        options = {"spatial_weight": 0.0, "temporal_weight": 0.0, "conservation_weight": 0.0}
        UniTrackLoss("paper", flow_form=form, **options)(clip).total.backward()
        size[form] = leaves["assoc_logits"].grad.norm().item()
    assert size["log"] > 0.5
    assert size["linear"] == 0


def test_linear_form_gradient():
    """The gradient at the flow is minus the quality over the number of correct edges, and 0 on other edges."""
    clip = noisy(count=3, objects=3, seed=5)
    options = {"spatial_weight": 0.0, "temporal_weight": 0.0, "conservation_weight": 0.0, "log_norm": False}
    clip, leaves = needing_gradient(replace(clip, det_gt=clip.gt_ids))
    output = UniTrackLoss("paper", flow_form="linear", **options)(clip)
    graph = ground_truth_graph(clip.det_gt, clip.valid)
    assert 0 < graph.edges.sum() < graph.edges.numel()
    by_hand = 1 - output.quality * flow(clip).flow[graph.edges].sum() / graph.edges.sum()
    wanted = torch.autograd.grad(by_hand, [*leaves.values()], retain_graph=True, allow_unused=True)
    got = torch.autograd.grad(output.total, [*leaves.values()], allow_unused=True)
    for name, a, b in zip(leaves, wanted, got, strict=True):
        torch.testing.assert_close(torch.zeros(()).double() if a is None else a, b if a is not None else b.sum() * 0)
        assert b is not None, name


def test_gradient_pulls_a_shifted_box_back():
    right = perfect(walking())
    moved = right.boxes_xyxy.clone()
    moved[0, 2, 1] += torch.tensor([6.0, 0, 6, 0])
    clip, leaves = needing_gradient(replace(right, boxes_xyxy=moved))
    UniTrackLoss("paper")(clip).total.backward()
    gradient = leaves["boxes_xyxy"].grad
    assert gradient[0, 2, 1, [0, 2]].sum() > 0  # downhill is to the left
    assert gradient[0, 2, 1, [1, 3]].sum().abs() < 1e-6


def test_confidence_gradient():
    right = perfect(walking())
    logits = right.logits.clone()
    logits[0, :, 2] = -1.0
    clip, leaves = needing_gradient(replace(right, logits=logits))
    UniTrackLoss("paper")(clip).total.backward()
    assert (leaves["logits"].grad[0, :, 2] < 0).all(), "a true detection is raised"

    false = right.det_gt.clone()
    false[..., 3] = -1
    ids = right.gt_ids.clone()
    ids[..., 3] = -1
    clip, leaves = needing_gradient(replace(right, logits=logits * 0 + 1, det_gt=false, gt_ids=ids))
    UniTrackLoss("paper")(clip).total.backward()
    assert (leaves["logits"].grad[0, :, 3] > 0).all(), "a persistent false positive is lowered"


def test_detection_quality():
    """One false positive among five."""
    clip = perfect(torch.rand(2, 5, 2) * 300 + 50)
    det_gt = clip.det_gt.clone()
    det_gt[..., 4] = -1
    ids = clip.gt_ids.clone()
    ids[..., 4] = -1
    assert UniTrackLoss("paper")(replace(clip, det_gt=det_gt, gt_ids=ids)).quality.item() == pytest.approx(
        0.8353, abs=1e-4
    )


@pytest.mark.parametrize("affinity", ["embed", "assoc"])
def test_optimization_fixes_switched_identities(affinity):
    """Full optimization moves the flow from wrong to correct objects."""
    start = switched(perfect(walking(), affinity=affinity), 2)
    name = "embed" if affinity == "embed" else "assoc_logits"
    value = getattr(start, name)
    learnt = nn.Parameter(value if affinity == "embed" else value / 20)
    optimizer = torch.optim.Adam([learnt], lr=0.05)
    loss = UniTrackLoss("paper")
    assert loss(replace(start, **{name: learnt})).id_accuracy == 0.875
    for _ in range(100):
        optimizer.zero_grad()
        loss(replace(start, **{name: learnt})).total.backward()
        optimizer.step()
    assert loss(replace(start, **{name: learnt})).id_accuracy == 1


@pytest.mark.slow
def test_compiles_as_one_graph():
    torch.compiler.reset()
    clip, leaves = needing_gradient(noisy(clips=2, dtype=torch.float32))
    loss = UniTrackLoss("paper")
    plain, fast = loss(clip), torch.compile(loss, fullgraph=True, backend="aot_eager")(clip)
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(fast, name), value, msg=name)
    inputs = [*leaves.values()]
    torch.testing.assert_close(torch.autograd.grad(fast.total, inputs), torch.autograd.grad(plain.total, inputs))


@pytest.mark.slow
def test_compiled_graph_for_any_number_of_detections():
    """The second size makes the dimension dynamic, without further compilation."""
    torch.compiler.reset()
    graphs, loss = CompileCounter(), UniTrackLoss("paper", window=3)
    fast = torch.compile(loss, fullgraph=True, backend=graphs)
    made = []
    for count, objects in ((4, 3), (7, 8), (12, 5), (30, 9)):
        clip = noisy(frames=4, count=count, objects=objects, dtype=torch.float32)
        torch.testing.assert_close(fast(clip).total, loss(clip).total)
        made.append(graphs.frame_count)
    assert made == [1, 2, 2, 2]


def test_linear_form_of_boxes_compiles_as_one_graph():
    torch.compiler.reset()
    clip = noisy(frames=3, affinity="boxes", dtype=torch.float32)
    loss = UniTrackLoss("paper", flow_form="linear", window=3)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(clip).total, loss(clip).total)
