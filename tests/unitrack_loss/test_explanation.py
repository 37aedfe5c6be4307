"""Explanation of a clip and its plot."""

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
    found = [explain(clip, row, **settings) for row in range(2)]
    total = UniTrackLoss(**settings)(clip).total.item()
    every = [edge.cost for one in found for edge in one.edges]
    empty_windows = form == "linear" and window == 2
    assert empty_windows or sum(every) / 2 == pytest.approx(total)
    assert found[1].output.total.item() + found[0].output.total.item() == pytest.approx(2 * total)


def test_edge_costs_with_gaps():
    clip = noisy(frames=6, count=5, objects=5, seed=8)
    single, longer = explain(clip), explain(clip, max_gap=3)
    assert sum(edge.cost for edge in longer.edges) < sum(edge.cost for edge in single.edges)


def test_switches_are_named():
    right = perfect(walking(), affinity="embed")
    assert not explain(right).switches
    found = explain(switched(right, 2))
    assert [(e.frame, e.identity, taken.end_identity) for e, taken in found.switches] == [(1, 0, 1), (1, 1, 0)]
    assert "frame 1 to 2: identity 0 goes to identity 1 (0.99), not to itself (0.00); cost 5.2" in str(found)
    assert found.output.id_accuracy == 1 - len(found.switches) / 16


def test_edges_equal_the_flow():
    clip = noisy(affinity="assoc", seed=2)
    strength = flow(clip).flow[0]
    for edge in explain(clip).edges:
        assert edge.flow == pytest.approx(strength[edge.frame, edge.start, edge.end].item())
        assert edge.right == (edge.identity == edge.end_identity >= 0)
        assert edge.right or edge.cost == 0
        assert edge.right or edge.flow >= 0.01


def test_residual_equals_the_output():
    clip = noisy(count=6, seed=4)
    found = explain(clip)
    valid = clip.valid[0]
    assert found.residual.abs()[valid].mean().item() == pytest.approx(found.output.net_residual.item())
    assert not found.residual[~valid].any()
    assert explain(perfect(walking())).residual.abs().max() < 1e-6


def test_empty_clip_is_rejected():
    with pytest.raises(ValueError, match="clip: expected at least two frames and a detection, got 1 frames with 4"):
        explain(noisy(frames=1))


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_plot_formats(tmp_path, kind):
    pytest.importorskip("matplotlib")
    path = plot(switched(perfect(walking(), affinity="embed"), 2), tmp_path / f"flow.{kind}")
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
