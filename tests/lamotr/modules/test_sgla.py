"""SGLA against a reference in loops, and its symmetries, gradients, presets and precision."""

import io
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from _helpers import lamotr_reference
from lamotr import SGLA, SGLASettings, association_loss, paper, paper_literal, tiny, weighted_update
from mot_core.nn import MLP, inverse_sigmoid, refine_boxes

F64 = torch.float64
SMALL = SGLASettings(embed_dim=8, num_heads=2, num_layers=2, ffn_dim=12)
VARIANTS = {
    "default": {},
    "obj_queries": {"attention": "obj_queries"},
    "tck_queries": {"attention": "tck_queries"},
    "logits": {"edge_update": "logits"},
    "obj_logits": {"attention": "obj_queries", "edge_update": "logits"},
    "tck_logits": {"attention": "tck_queries", "edge_update": "logits"},
    "obj_to_tck": {"edge_read": "obj_to_tck"},
    "tck_to_obj": {"edge_read": "tck_to_obj"},
    "without cue": {"cue": False},
    "cue per layer": {"persist_cue": False},
    "scaled": {"difference": "scaled"},
    "literal": {"ffn_dim": 0, "norm": False},
}


def make(settings=SMALL, seed=0, dtype=F64, **changes):
    torch.manual_seed(seed)
    sgla = SGLA(replace(settings, **changes)).to(dtype)
    for parameter in sgla.parameters():  # larger than at the start, so that every path matters
        nn.init.normal_(parameter, std=0.4)
    return sgla


def inputs(batch=2, objects=4, tracklets=3, channels=8, seed=0, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    embeds = [torch.randn(batch, n, channels, generator=generator, dtype=F64).to(dtype) for n in (objects, tracklets)]
    return [*embeds, *(torch.rand(batch, n, 4, generator=generator, dtype=F64).to(dtype) for n in (objects, tracklets))]


def head(channels=8):
    torch.manual_seed(3)
    return MLP(channels, channels, 4, 3).to(F64)


@pytest.mark.parametrize("box_head", [None, head()])
@pytest.mark.parametrize("literal", [False, True])
def test_equals_the_loop(box_head, literal):
    sgla = make(**(VARIANTS["literal"] if literal else {}))
    given = inputs()
    found = sgla(*given, box_head=box_head)
    for clip in range(2):
        scores, tokens = lamotr_reference.associate(sgla, *(one[clip] for one in given), box_head)
        torch.testing.assert_close(found.score_logits[clip], scores)
        torch.testing.assert_close(torch.cat([found.obj_embed, found.tck_embed], 1)[clip], tokens)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sizes", [(1, 5, 3), (2, 7, 0), (2, 1, 1), (1, 0, 2), (0, 2, 2)])
def test_shapes(variant, sizes):
    batch, objects, tracklets = sizes
    output = make(**VARIANTS[variant])(*inputs(*sizes), box_head=head())
    assert output.obj_embed.shape == (batch, objects, 8)
    assert output.tck_embed.shape == (batch, tracklets, 8)
    assert output.score_logits.shape == sizes
    assert output.edges.shape == (*sizes, 8)
    assert [one.shape for one in output.boxes] == [(batch, objects + tracklets, 4)] * 3
    assert output.obj_embed.isfinite().all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing_even_with_nan(variant):
    sgla, given = make(**VARIANTS[variant]), inputs()
    wanted = sgla(*given, box_head=head())
    pads = torch.tensor([[False] * 4 + [True]] * 2), torch.tensor([[False] * 3 + [True] * 2] * 2)
    longer = [
        torch.nn.functional.pad(one, (0, 0, 0, pads[index % 2].shape[1] - one.shape[1]), value=torch.nan)
        for index, one in enumerate(given)
    ]
    found = sgla(*longer, *pads, box_head=head())
    torch.testing.assert_close(found.score_logits[:, :4, :3], wanted.score_logits)
    torch.testing.assert_close(found.obj_embed[:, :4], wanted.obj_embed)
    torch.testing.assert_close(found.tck_embed[:, :3], wanted.tck_embed)
    torch.testing.assert_close(found.edges[:, :4, :3], wanted.edges)
    for padded in (found.obj_embed[:, 4:], found.tck_embed[:, 3:], found.score_logits[:, 4:], found.edges[:, :, 3:]):
        assert not padded.any()
    # A clip without tracklets next to one with some.
    none = sgla(*longer, pads[0], torch.tensor([[True] * 5, [False] * 3 + [True] * 2]), box_head=head())
    torch.testing.assert_close(none.score_logits[1], found.score_logits[1])
    alone = sgla(*(one[:1] for one in (given[0], given[1][:, :0], given[2], given[3][:, :0])), box_head=head())
    torch.testing.assert_close(none.obj_embed[:1, :4], alone.obj_embed)
    loss = association_loss(none.score_logits, torch.zeros(2, 5, 5).bool())
    assert all(
        one.isfinite().all()
        for one in torch.autograd.grad(loss, list(sgla.parameters()), materialize_grads=True, allow_unused=True)
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_permutation(variant):
    sgla, given = make(**VARIANTS[variant]), inputs()
    wanted = sgla(*given)
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    found = sgla(*(one[:, order] for one, order in zip(given, [rows, columns] * 2, strict=True)))
    torch.testing.assert_close(found.score_logits, wanted.score_logits[:, rows][:, :, columns])
    torch.testing.assert_close(found.obj_embed, wanted.obj_embed[:, rows])
    torch.testing.assert_close(found.tck_embed, wanted.tck_embed[:, columns])


@pytest.mark.parametrize("read", ["mean", "obj_to_tck", "tck_to_obj"])
def test_update_reads_the_weights_of_a_direction(read):
    layer = make(edge_read=read, norm=False).layers[0]
    objects, tracklets = inputs(1)[:2]
    tokens, edges = torch.cat([objects, tracklets], 1), torch.randn(1, 4, 3, 8, dtype=F64)
    parts = layer.qkv(tokens[0]).unflatten(-1, (3, 2, 4)).unbind(1)
    _, forth, back, _ = lamotr_reference.attention(*parts, layer.bias(edges[0]))
    wanted = {"mean": (forth + back) / 2, "obj_to_tck": forth, "tck_to_obj": back}[read]
    torch.testing.assert_close(layer(tokens, edges)[1][0], layer.update(wanted))


@pytest.mark.parametrize("attention", ["concat", "obj_queries", "tck_queries"])
def test_update_reads_the_logits_of_the_queries(attention):
    layer = make(edge_update="logits", attention=attention, norm=False).layers[0]
    tokens, edges = torch.cat(inputs(1)[:2], 1), torch.randn(1, 4, 3, 8, dtype=F64)
    query, key, _ = layer.qkv(tokens[0]).unflatten(-1, (3, 2, 4)).unbind(1)
    logits = torch.stack([query[:, head] @ key[:, head].T / 2 for head in range(2)], -1)
    forth, back = (one + layer.bias(edges[0]) for one in (logits[:4, 4:], logits[4:, :4].transpose(0, 1)))
    wanted = {"concat": (forth + back) / 2, "obj_queries": forth, "tck_queries": back}[attention]
    torch.testing.assert_close(layer(tokens, edges)[1][0], layer.update(wanted))


def test_first_boxes_are_those_of_the_detector():
    given, box_head = inputs(), head()
    hidden, references = torch.cat(given[:2], 1), torch.cat(given[2:], 1)
    boxes = make()(*given, box_head=box_head).boxes
    torch.testing.assert_close(boxes[0], (box_head(hidden) + inverse_sigmoid(references)).sigmoid())
    output = make()(*given, box_head=box_head)
    last = refine_boxes(box_head(torch.cat([output.obj_embed, output.tck_embed], 1)), references)
    torch.testing.assert_close(output.boxes[-1], last)


def test_translation_of_all_boxes_changes_nothing():
    given = inputs()
    shift = torch.tensor([0.3, -0.2, 0.0, 0.0], dtype=F64)
    moved = [*given[:2], given[2] + shift, given[3] + shift]
    for difference in ("signed", "scaled"):
        sgla = make(difference=difference)
        torch.testing.assert_close(sgla(*moved).score_logits, sgla(*given).score_logits)


def test_boxes_matter_only_through_the_cue():
    given = inputs()
    other = [*given[:2], given[2] * 0.5, given[3] + 0.1]
    blind, seeing = make(cue=False), make()
    assert torch.equal(blind(*given).score_logits, blind(*other).score_logits)
    assert not torch.allclose(seeing(*given).score_logits, seeing(*other).score_logits)


def test_without_edges_it_is_plain_attention():
    """With zero W_asso and W_upd and no feed-forward: multi-head self-attention, and the sum of all cues as matrix."""
    sgla, given = make(ffn_dim=0, norm=False, num_layers=1), inputs()
    layer = sgla.layers[0]
    for part in (layer.bias, layer.update):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)
    plain = nn.MultiheadAttention(8, 2, batch_first=True, dtype=F64)
    plain.in_proj_weight.data, plain.in_proj_bias.data = layer.qkv.weight.data, layer.qkv.bias.data
    nn.init.eye_(plain.out_proj.weight)
    nn.init.zeros_(plain.out_proj.bias)
    tokens = torch.cat(given[:2], 1)
    output = sgla(*given)
    found = torch.cat([output.obj_embed, output.tck_embed], 1)
    torch.testing.assert_close(found, tokens + plain(tokens, tokens, tokens)[0])
    torch.testing.assert_close(output.edges, sgla.encodings[0](given[2], given[3]))


@pytest.mark.parametrize("attention", ["concat", "obj_queries", "tck_queries"])
def test_starts_as_the_identity_on_embeddings(attention):
    torch.manual_seed(0)
    sgla, given = SGLA(replace(SMALL, zero_init=True, attention=attention)).to(F64), inputs()
    output = sgla(*given, box_head=head())
    assert torch.equal(output.obj_embed, given[0])
    assert torch.equal(output.tck_embed, given[1])
    assert torch.equal(output.boxes[-1], output.boxes[0])


def test_cross_attention_leaves_the_other_side():
    given = inputs()
    one_way, other_way = make(attention="obj_queries")(*given), make(attention="tck_queries")(*given)
    assert torch.equal(one_way.tck_embed, given[1])
    assert torch.equal(other_way.obj_embed, given[0])
    assert not torch.allclose(one_way.obj_embed, given[0])
    assert not torch.allclose(other_way.tck_embed, given[1])


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_of_the_association_loss(detach):
    sgla, box_head = make(detach_boxes=detach), head()
    given = [one.requires_grad_() for one in inputs()]
    output = sgla(*given, box_head=box_head)
    loss = association_loss(output.score_logits, torch.eye(4, 3).bool().expand(2, -1, -1))
    gradients = torch.autograd.grad(
        loss, [*given, *box_head.parameters(), *sgla.parameters()], retain_graph=True, materialize_grads=True
    )
    assert all(one.any() for one in gradients[:2])  # embeddings
    heads = gradients[4 : 4 + len(list(box_head.parameters()))]
    assert any(one.any() for one in heads) is not detach
    assert (gradients[2].any().item(), gradients[3].any().item()) == (not detach, not detach)
    # The detection loss, on boxes and embeddings, leaves the score head alone.
    detection = output.boxes[-1].sum() + output.obj_embed.sum()
    by_head = torch.autograd.grad(detection, list(sgla.head.parameters()), allow_unused=True)
    assert by_head == (None,) * 4


def test_gradcheck():
    sgla = make(num_layers=1, detach_boxes=False)
    given = [one.requires_grad_() for one in inputs(1, 2, 2)]
    box_head = head()
    torch.autograd.gradcheck(lambda *one: sgla(*one, box_head=box_head).score_logits, given)


def test_gradient_through_three_frames():
    """The loss of the third frame reaches the embeddings of the first through the queries, not through boxes."""
    sgla, frames = make(), [inputs(1, seed=seed) for seed in range(3)]
    objects = [frame[0].requires_grad_() for frame in frames]
    references = [frame[2].requires_grad_() for frame in frames]
    first = sgla(objects[0], objects[0][:, :0], references[0], references[0][:, :0])
    query, boxes = first.obj_embed, first.boxes[-1].detach()
    for time in (1, 2):
        output = sgla(objects[time], query, references[time], boxes)
        matched = torch.tensor([[0, 1, -1, 2]])
        query = weighted_update(output.tck_embed, output.obj_embed, matched, 0.5)
        boxes = output.boxes[-1][:, 4:].detach()
    loss = association_loss(output.score_logits, torch.eye(4).bool()[None])
    gradients = torch.autograd.grad(loss, [objects[0], references[0]], materialize_grads=True)
    assert gradients[0].any()
    assert not gradients[1].any()


def test_number_of_parameters():
    def count(module):
        return sum(one.numel() for one in module.parameters() if one.requires_grad)

    assert count(SGLA(paper().sgla)) == 3_247_649
    assert 3_240_186 <= count(SGLA(paper("MOT17").sgla)) <= 3_250_186
    literal = SGLA(paper_literal().sgla)
    assert not any(isinstance(one, nn.LayerNorm) for one in literal.modules())
    assert count(literal) == 3_247_649 - 4 * (2 * 512 + 256 * 1024 * 2 + 1024 + 256)
    assert count(SGLA(tiny().sgla)) < 150_000


def test_presets_of_benchmarks():
    assert [paper(name).rules.weight for name in ("DanceTrack", "SportsMOT", "MOT17")] == [1.0, 0.9, 0.5]
    with pytest.raises(ValueError, match="benchmark: expected DanceTrack, SportsMOT, MOT17, got 'KITTI'"):
        paper("KITTI")


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision(variant):
    sgla = make(dtype=torch.float32, **VARIANTS[variant])
    given = inputs(dtype=torch.float32)
    wanted = sgla(*given, box_head=head().float())
    with torch.autocast("cpu", torch.bfloat16):
        found = sgla(*given, box_head=head().float())
    assert found.score_logits.dtype == torch.float32
    assert found.boxes[-1].dtype == torch.float32
    torch.testing.assert_close(found.score_logits, wanted.score_logits, rtol=0.1, atol=0.15)
    found.score_logits.sum().backward()
    assert sgla.layers[0].bias.weight.grad.isfinite().all()


def test_whole_model_in_half_precision():
    sgla = make(dtype=torch.bfloat16)
    output = sgla(*inputs(dtype=torch.bfloat16))
    assert output.obj_embed.dtype == torch.bfloat16
    assert output.score_logits.isfinite().all()


def test_saved_and_restored():
    sgla, given = make(), inputs()
    file = io.BytesIO()
    torch.save({"settings": asdict(sgla.settings), "state": sgla.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    restored = SGLA(SGLASettings(**saved["settings"])).to(F64)
    restored.load_state_dict(saved["state"])
    assert torch.equal(restored(*given).score_logits, sgla(*given).score_logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dim": 9}, "embed_dim: expected a multiple of num_heads, got 9 for 2 heads"),
        ({"num_layers": 0}, "num_layers, ffn_dim: expected at least 1 and 0, got 0 and 12"),
        ({"prior": 1.0}, "prior: expected a number between 0 and 1, got 1.0"),
        ({"attention": "all"}, "attention: expected concat or obj_queries or tck_queries, got 'all'"),
        ({"edge_update": "none"}, "edge_update: expected attention or logits, got 'none'"),
        ({"difference": "log"}, "difference: expected signed or scaled, got 'log'"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_bad_shapes():
    sgla, (a, b, c, d) = make(), inputs()
    for given, message in [
        ((a[..., :4], b, c, d), r"obj_embed: expected shape \(B, N, 8\), got \(2, 4, 4\)"),
        ((a, b, c, d[:, :2]), r"tck_ref: expected shape \(2, 3, 4\), got \(2, 2, 4\)"),
        ((a, b, c, d, None, torch.zeros(2, 4).bool()), r"tck_pad: expected a bool tensor of shape \(2, 3\)"),
        ((a, b[:1], c, d[:1]), "tck_embed: expected the batch size 2 of obj_embed, got 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            sgla(*given)
