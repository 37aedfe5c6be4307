"""Explanation of a clip and its plot."""

import math

import pytest
import torch

from _helpers.unitrack_clips import noisy, perfect, switched, walking
from unitrack_loss import UniTrackLoss, explain, flow, plot

ALONE = {"spatial_weight": 0.0, "temporal_weight": 0.0, "conservation_weight": 0.0, "alpha": 0.0}


@pytest.mark.parametrize("affinity", ["embed", "assoc"])
@pytest.mark.parametrize("form", ["log", "linear"])
@pytest.mark.parametrize("window", [2, 4, 9])
def test_edge_costs_sum_to_the_flow_term(affinity, form, window):
    clip = noisy(clips=2, frames=6, count=5, objects=5, affinity=affinity, seed=8)
    settings = {**ALONE, "flow_form": form, "window": window}
    found = [explain(clip, row, preset="paper", **settings) for row in range(2)]
    total = UniTrackLoss("paper", **settings)(clip).total.item()
    every = [edge.cost for one in found for edge in one.edges]
    empty_windows = form == "linear" and window == 2
    assert empty_windows or sum(every) / 2 == pytest.approx(total)
    assert found[1].output.total.item() + found[0].output.total.item() == pytest.approx(2 * total)


def test_edge_costs_with_gaps():
    clip = noisy(frames=6, count=5, objects=5, seed=8)
    single, longer = explain(clip, preset="paper"), explain(clip, preset="paper", max_gap=3)
    assert sum(edge.cost for edge in longer.edges) < sum(edge.cost for edge in single.edges)


def test_switches_are_named():
    right = perfect(walking(), affinity="embed")
    assert not explain(right, preset="paper").switches
    found = explain(switched(right, 2), preset="paper")
    assert [(e.frame, e.identity, taken.end_identity) for e, taken in found.switches] == [(1, 0, 1), (1, 1, 0)]
    assert "frame 1 to 2: identity 0 goes to identity 1 (0.99), not to itself (0.00); cost 5.2" in str(found)
    assert found.output.id_accuracy == 1 - len(found.switches) / 16


@pytest.mark.parametrize("affinity", ["embed", "assoc"])
@pytest.mark.parametrize("odds", ["place", "none"])
def test_identity_flow_is_explained_over_all_gaps(affinity, odds):
    clip = noisy(frames=5, count=5, objects=5, affinity=affinity, seed=8)
    settings = {"odds": odds, "rivals": "none", "null": -100.0}  # births cost next to nothing, or very much
    found = explain(clip, **settings)
    gaps = {abs(edge.frame - edge.end_frame) for edge in found.edges}
    assert gaps == ({1, 2, 3, 4} if affinity == "embed" else {1})
    assert any(edge.odds for edge in found.edges) == (odds == "place")
    assert all(edge.right or edge.cost == 0 for edge in found.edges)
    for edge in (one for one in found.edges if one.right):
        count = sum(1 for one in clip.det_gt[0].flatten().tolist() if one >= 0)
        pairs = (
            count * 4
            if affinity == "embed"
            else sum(
                (1 if frame in (0, 4) else 2)
                for frame in range(5)
                for one in clip.det_gt[0, frame].tolist()
                if one >= 0
            )
        )
        assert edge.cost == pytest.approx(-math.log(edge.flow) / pairs, rel=1e-4)
    assert found.output.id_accuracy.item() == pytest.approx(1 - len(found.switches) / found.output.num_edges.item())


def test_a_switch_over_a_gap_is_named_with_the_odds_of_place():
    found = explain(switched(perfect(walking(), affinity="embed"), 2), odds="place")
    assert {(right.frame, right.end_frame) for right, _ in found.switches} == {
        (0, 4),
        (4, 0),
    }  # place explains the others
    assert "odds of place" in str(found)
    assert "far_accuracy" in str(found)
    assert not explain(perfect(walking(), affinity="embed")).switches


def test_edges_equal_the_flow():
    clip = noisy(affinity="assoc", seed=2)
    strength = flow(clip).flow[0]
    for edge in explain(clip, preset="paper").edges:
        assert edge.flow == pytest.approx(strength[edge.frame, edge.start, edge.end].item())
        assert edge.right == (edge.identity == edge.end_identity >= 0)
        assert edge.right or edge.cost == 0
        assert edge.right or edge.flow >= 0.01


def test_residual_equals_the_output():
    clip = noisy(count=6, seed=4)
    found = explain(clip, preset="paper")
    valid = clip.valid[0]
    assert found.residual.abs()[valid].mean().item() == pytest.approx(found.output.net_residual.item())
    assert not found.residual[~valid].any()
    assert explain(perfect(walking())).residual.abs().max() < 1e-6


def test_empty_clip_is_rejected():
    with pytest.raises(ValueError, match="clip: expected at least two frames and a detection, got 1 frames with 4"):
        explain(noisy(frames=1), preset="paper")


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_plot_formats(tmp_path, kind):
    pytest.importorskip("matplotlib")
    path = plot(switched(perfect(walking(), affinity="embed"), 2), tmp_path / f"flow.{kind}", preset="paper")
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind]
    assert path.read_bytes().startswith(start)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_plot_colors(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    def share(clip, color):
        with Image.open(plot(clip, tmp_path / "flow.png")) as picture:
            pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8).view(-1, 3)
        return (pixels.int() - torch.tensor(color)).abs().amax(1).le(60).float().mean().item()

    right = perfect(walking(), affinity="embed")
    green, red = (42, 157, 74), (214, 40, 40)
    assert share(right, green) > share(switched(right, 1, 2, 3, 4), green)
    assert share(switched(right, 2), red) > share(right, red)


def test_invalid_plot_arguments(tmp_path):
    clip = noisy()
    with pytest.raises(ValueError, match=r"path must end in \.png, \.pdf, \.svg, got 'flow\.gif'"):
        plot(clip, tmp_path / "flow.gif")
    with pytest.raises(ValueError, match="axis must be 'x' or 'y', got 'z'"):
        plot(clip, tmp_path / "flow.png", axis="z")
