"""Identity flow over all gaps: reference in loops, gradients, symmetries and odds of place."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from _helpers.unitrack_clips import chosen, needing_gradient, noisy, padded, perfect, swap_rows, switched, walking
from _helpers.unitrack_identity_reference import identity_reference, nodes_of, variances
from unitrack_loss import Settings, UniTrackLoss
from unitrack_loss.terms.identity import identity_flow, identity_sums, place_odds, squared_distances

SHAPES = {
    "frames": st.integers(1, 5),
    "count": st.sampled_from([0, 1, 2, 5]),
    "objects": st.sampled_from([0, 1, 2, 6]),
    "affinity": st.sampled_from(["embed", "assoc"]),
    "seed": st.integers(0, 10**6),
}
FORMS = {
    "edges": st.sampled_from(["all", "adjacent"]),
    "odds": st.sampled_from(["place", "none"]),
    "rivals": st.sampled_from(["batch", "own_frame", "none"]),
}
quick = settings(max_examples=25, deadline=None, derandomize=True)


def identity(clip, **options):
    return UniTrackLoss(**options)(clip).identity.item()


def close(clip, scale=0.02):
    """Return a copy of a random clip with boxes near each other, so that odds are not at their limits."""
    return replace(clip, boxes_xyxy=clip.boxes_xyxy * scale, gt_boxes_xyxy=clip.gt_boxes_xyxy * scale)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    **SHAPES,
    **FORMS,
    clips=st.integers(0, 3),
    scale=st.sampled_from([0.001, 0.02, 1.0]),
    videos=st.sampled_from([None, [5, 6, 7], [5, 6, 5], [5, 5, 5]]),
)
def test_any_clip(edges, odds, rivals, scale, videos, **shape):
    clip, form = close(noisy(**shape), scale), {"edges": edges, "odds": odds, "rivals": rivals}
    if videos is not None:
        clip = replace(clip, video=torch.tensor(videos[: shape["clips"]], dtype=torch.int64))
    output = UniTrackLoss(**form)(clip)
    loss, *shares = identity_reference(clip, **form)
    assert output.identity.item() == pytest.approx(loss, rel=1e-6, abs=1e-9)
    found = (output.id_accuracy, output.far_accuracy, output.place_accuracy, output.far_place_accuracy)
    assert [share.item() for share in found] == pytest.approx(shares)


@pytest.mark.parametrize(
    "options", [{"tau": 0.3}, {"null": -1.0}, {"odds": "place"}, {"rivals": "none"}, {"rivals": "own_frame"}], ids=str
)
def test_every_setting(options):
    clip = close(noisy(clips=2, frames=5, count=5, seed=4))
    assert identity(clip, **options) == pytest.approx(identity_reference(clip, **options)[0])
    assert identity(clip, **options) != pytest.approx(identity(clip), rel=1e-5), "no influence"


@pytest.mark.parametrize("form", [{}, {"odds": "none", "rivals": "none"}, {"edges": "adjacent"}], ids=str)
@pytest.mark.parametrize("affinity", ["embed", "assoc"])
def test_finite_differences(form, affinity):
    clip, leaves = needing_gradient(close(noisy(frames=3, count=3, objects=3, affinity=affinity, seed=2)))
    name = {"embed": "embed", "assoc": "assoc_logits"}[affinity]
    chosen_form = Settings(**form)

    def total(value):
        return identity_sums(replace(clip, **{name: value}).clean(), chosen_form).total

    assert torch.autograd.gradcheck(total, leaves[name])


@quick
@given(**SHAPES, odds=FORMS["odds"], rivals=FORMS["rivals"])
def test_all_gaps_are_adjacent_for_two_frames(odds, rivals, **shape):
    clip = noisy(**{**shape, "frames": 2}, clips=2)
    form = {"odds": odds, "rivals": rivals}
    assert identity(clip, edges="all", **form) == identity(clip, edges="adjacent", **form)


def test_odds_have_no_gradient():
    clip, leaves = needing_gradient(close(noisy(clips=2)))
    UniTrackLoss(capacity_weight=1.0)(clip).total.backward()
    assert not leaves["boxes_xyxy"].grad.any()
    assert not leaves["logits"].grad.any()
    assert leaves["embed"].grad.abs().sum() > 1e-3


def odds_of(clip):
    ids = clip.det_gt
    same = (ids[:, :, :, None, None] == ids[:, None, None]) & (ids >= 0)[..., None, None]
    return place_odds(clip, squared_distances(clip), same)


@pytest.mark.parametrize("count", [2, 5])  # two objects have fewer than 8 pairs of the longest gaps
def test_odds_equal_the_density_of_displacements(count):
    clip = close(noisy(frames=4, count=count, objects=count, seed=3), 0.05)
    odds, spread = odds_of(clip), variances([nodes_of(clip, 0)])
    frames, checked = nodes_of(clip, 0), 0
    for s in range(4):
        for t in range(4):
            for i in frames[s] if s != t else []:
                for j in frames[t]:
                    axes = torch.distributions.Normal(torch.from_numpy(i["center"]), spread[abs(s - t)] ** 0.5)
                    density = axes.log_prob(torch.from_numpy(j["center"])).sum()
                    expected = (density + torch.tensor(480.0 * 640).log()).clamp(-8, 8)
                    assert odds[0, s, i["row"], t, j["row"]].item() == pytest.approx(expected.item())
                    checked += 1
    assert checked > 5


def test_place_explains_what_it_can():
    """Where objects are distant, equal embeddings are enough with odds, and a chance without."""
    clip = perfect(walking(), affinity="embed", dtype=torch.float64)
    clip = replace(clip, embed=torch.ones_like(clip.embed))
    alone = {"rivals": "none"}
    assert identity(clip, odds="place", **alone) < 0.01
    assert identity(clip, odds="none", **alone) > 1.3  # log 4
    output = UniTrackLoss(odds="place", **alone)(clip)
    assert output.id_accuracy == output.far_accuracy == output.place_accuracy == output.far_place_accuracy == 1


@pytest.mark.parametrize("rivals", ["own_frame", "none"])
@pytest.mark.parametrize("odds", ["place", "none"])
def test_a_switch_in_any_gap_raises_the_loss(odds, rivals):
    clip = perfect(walking(), affinity="embed", dtype=torch.float64)
    margin = 1.0 if odds == "none" else 0.1  # place contradicts the switch, so that it costs less
    form = {"odds": odds, "rivals": rivals}
    for start in range(1, 5):
        assert identity(switched(clip, start), **form) > identity(clip, **form) + margin


@pytest.mark.parametrize("gap", [1, 2, 3, 4])
def test_a_switch_during_an_occlusion(gap):
    """Objects that are seen in two frames only; edges between neighbors do not notice a switch in between."""
    seen = torch.zeros(1, 5, 1, dtype=torch.bool)
    seen[:, [0, gap]] = True
    clip = perfect(walking(), affinity="embed", dtype=torch.float64)
    clip = replace(clip, valid=clip.valid & seen)
    wrong = switched(clip, gap)
    assert identity(wrong) > identity(clip) + 0.05  # less than without odds, as place contradicts the switch
    assert identity(wrong, odds="none") > identity(clip, odds="none") + 0.5
    if gap > 1:
        assert identity(wrong, edges="adjacent") == pytest.approx(identity(clip, edges="adjacent"))


def test_rivals_of_other_videos():
    """They count where they are of other videos, and have a gradient themselves."""
    clip = noisy(clips=2, seed=3)
    numbers = [torch.tensor(some) for some in ([4, 9], [4, 4])]
    other, same = (identity(replace(clip, video=video)) for video in numbers)
    assert other == identity(clip)
    assert same == identity(clip, rivals="own_frame") < other
    live, leaves = needing_gradient(clip)
    first = identity_sums(live.clean(), Settings()).total[0]
    (grad,) = torch.autograd.grad(first, leaves["embed"])
    assert grad[0].abs().sum() > 0
    assert grad[1].abs().sum() > 0


def test_association_logits_have_no_rivals():
    """They replace the embeddings, so nothing may be exchanged between processes either."""
    clip = noisy(clips=2, affinity="assoc")
    both = replace(clip, embed=noisy(clips=2).embed)
    assert identity_flow(both, Settings()).elsewhere is None
    assert identity(both) == identity(clip)


def test_rivals_of_the_own_frame_separate_objects():
    clip = perfect(walking(frames=2), affinity="embed", dtype=torch.float64)
    near = replace(clip, embed=0.3 * clip.embed + 1)
    assert identity(near, odds="none") > identity(near, odds="none", rivals="none") + 0.3


@quick
@given(**SHAPES)
def test_permutation_and_labels(**shape):
    clip, generator = noisy(clips=2, **shape), torch.Generator().manual_seed(shape["seed"])
    mixed = chosen(clip, torch.rand(clip.logits.shape, generator=generator).argsort(-1))
    assert identity(mixed) == pytest.approx(identity(clip), rel=1e-9)
    renamed = {n: torch.where(getattr(clip, n) >= 0, 10**9 - 3 * getattr(clip, n), -1) for n in ("det_gt", "gt_ids")}
    assert identity(replace(clip, **renamed)) == identity(clip)


@quick
@given(**SHAPES, garbage=st.sampled_from([1e6, float("nan"), float("inf")]))
def test_padding(garbage, **shape):
    clip = noisy(clips=2, **shape)
    more, leaves = needing_gradient(padded(clip, 3, garbage))
    output = UniTrackLoss(capacity_weight=1.0)(more)
    assert output.identity.item() == pytest.approx(identity(clip), rel=1e-9)
    output.total.backward()
    for name, leaf in leaves.items():
        assert leaf.grad.isfinite().all(), name
    if "embed" in leaves:
        assert not leaves["embed"].grad[:, :, shape["count"] :].any()


def test_clips_without_pairs():
    for clip in (noisy(count=0), noisy(clips=0), noisy(frames=1), noisy(objects=0)):
        live, _ = needing_gradient(clip)
        output = UniTrackLoss(capacity_weight=1.0)(live)
        assert output.identity == 0
        output.total.backward()
    one = UniTrackLoss(odds="none")(perfect(walking(count=1), affinity="embed"))
    assert one.identity.item() == pytest.approx(torch.tensor(-5.0).exp().log1p().item(), rel=1e-4)


def test_batch_without_odds_is_the_mean_of_the_clips_of_one_video():
    first, second = noisy(seed=1), noisy(seed=2, count=4)
    both = {n: torch.cat([getattr(first, n), getattr(second, n)]) for n, v in vars(first).items() if v is not None}
    mean = (identity(first, odds="none") + identity(second, odds="none")) / 2
    one = torch.tensor([3, 3])
    assert identity(replace(first, **both, video=one), odds="none") == pytest.approx(mean)


@pytest.mark.parametrize("affinity", ["embed", "assoc", "boxes"])
def test_zero_weights_change_no_bit(affinity):
    clip, leaves = needing_gradient(noisy(clips=2, affinity=affinity))
    plain = UniTrackLoss("paper")(clip)
    other = UniTrackLoss("paper", edges="adjacent", odds="none", rivals="none")(clip)
    for name, value in vars(plain).items():
        assert torch.equal(value, getattr(other, name)), name
    assert plain.identity == plain.capacity == plain.far_accuracy == plain.duplicates == 0
    inputs = [*leaves.values()]
    for one, two in zip(*(torch.autograd.grad(output.total, inputs) for output in (plain, other)), strict=True):
        assert torch.equal(one, two)


def test_total_is_the_sum():
    clip = noisy(clips=2)
    output = UniTrackLoss("paper", identity_weight=0.5, capacity_weight=0.25)(clip)
    expected = UniTrackLoss("paper")(clip).total + 0.5 * output.identity + 0.25 * output.capacity
    assert output.total.item() == pytest.approx(expected.item())


def test_sources():
    with pytest.raises(ValueError, match="embed: expected embeddings or assoc_logits with identity_weight above 0"):
        identity(noisy(affinity="boxes"))
    for name in ("edges", "odds", "rivals"):
        with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'some'"):
            Settings(**{name: "some"})
    with pytest.raises(ValueError, match="identity_weight must be a finite number of at least 0"):
        Settings(identity_weight=-1.0)


def test_half_precision_and_autocast():
    clip = noisy(dtype=torch.float32)
    plain = identity(clip)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert identity(clip) == plain
    half = replace(clip, embed=clip.embed.bfloat16())
    output = UniTrackLoss()(half)
    assert output.identity.dtype == torch.float32
    assert output.identity.item() == pytest.approx(plain, rel=2e-2)


def test_training_repairs_swapped_embeddings():
    clip = perfect(walking(), affinity="embed")
    embed = (swap_rows(clip.embed, 3) + 0.1).clone().requires_grad_()
    form = Settings(odds="none")
    before = identity_sums(replace(clip, embed=embed), form)
    assert before.right.sum() < before.edges.sum()
    for _ in range(40):
        (grad,) = torch.autograd.grad(identity_sums(replace(clip, embed=embed), form).total.sum(), embed)
        embed = (embed - 0.01 * grad).detach().requires_grad_()
    after = identity_sums(replace(clip, embed=embed), form)
    assert after.right.sum() == after.edges.sum()


@pytest.mark.parametrize("affinity", ["embed", "assoc"])
def test_compiles_as_one_graph(affinity):
    torch.compiler.reset()
    clip = noisy(clips=2, frames=3, affinity=affinity, dtype=torch.float32).clean()
    options = Settings()

    def sums(one):
        found = identity_sums(one, options)
        return found.total, found.count, found.right

    torch.testing.assert_close(torch.compile(sums, fullgraph=True, backend="eager")(clip), sums(clip))


@pytest.mark.slow
def test_loss_with_all_terms_compiles_as_one_graph():
    torch.compiler.reset()
    clip, leaves = needing_gradient(noisy(clips=2, dtype=torch.float32))
    loss = UniTrackLoss(capacity_weight=1.0)
    plain, fast = loss(clip), torch.compile(loss, fullgraph=True, backend="aot_eager")(clip)
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(fast, name), value, msg=name)
    inputs = [*leaves.values()]
    torch.testing.assert_close(torch.autograd.grad(fast.total, inputs), torch.autograd.grad(plain.total, inputs))
