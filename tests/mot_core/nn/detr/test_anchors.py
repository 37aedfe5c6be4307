"""Queries with anchors: encoding and decoder against loops, merge layer, padding, gradients and precision."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from _helpers.trackers.tiny_detectors import make_detector, make_targets, make_tracks
from mot_core.nn import (
    AnchorPosition,
    DeformableDecoder,
    DeformableDETR,
    SetCriterion,
    SmallBackbone,
    inverse_sigmoid,
    sine_boxes,
)

KINDS = pytest.mark.parametrize("merge_layer", [0, 1, 2])


def images(batch=2):
    return torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def dab_detector(merge_layer=1, **options):
    return make_detector(dab=True, merge_layer=merge_layer, **options)


def encode_by_loop(box, channels):
    """Encode the coordinates of one box one after the other."""
    found = []
    for coordinate in box:
        for index in range(channels):
            angle = 2 * math.pi * coordinate / 10_000 ** (2 * (index // 2) / channels)
            found.append(math.cos(angle) if index % 2 else math.sin(angle))
    return found


def decode_by_loop(decoder, queries, references, memory, shapes, ratios, num_objects):
    """Decode one frame of one clip with explicit steps; return the outputs and the next references of every layer."""
    found = []
    for index, layer in enumerate(decoder.layers):
        rows = num_objects if index < decoder.merge_layer else queries.shape[1]
        content, anchors = queries[:, :rows], references[:, :rows]
        width, height = ratios[0, 0].tolist()
        scaled = [[x * width, y * height, w * width, h * height] for x, y, w, h in anchors[0].tolist()]
        encoded = torch.tensor([[encode_by_loop(box, content.shape[-1] // 2) for box in scaled]], dtype=torch.float64)
        first, second = decoder.anchor_position.head.layers
        positions = second(first(encoded).relu())
        if index:
            first, second = decoder.anchor_position.scale.layers
            positions = positions * second(first(content).relu())
        at_levels = torch.stack([anchors * ratio.repeat(2) for ratio in ratios[0]], 2)
        content = layer(content, positions, at_levels, memory, shapes)
        queries = torch.cat([content, queries[:, rows:]], 1)
        boxes = (decoder.box_heads[index](queries) + torch.logit(references)).sigmoid()
        references = torch.cat([boxes[:, :rows], references[:, rows:]], 1)
        found.append((queries, boxes, references))
    return found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.sampled_from([4, 8, 32]))
def test_encoding_equals_a_loop(box, channels):
    encoded = sine_boxes(torch.tensor(box, dtype=torch.float64), channels)
    expected = torch.tensor(encode_by_loop(box, channels // 2), dtype=torch.float64)
    torch.testing.assert_close(encoded, expected, rtol=0, atol=2e-6)  # wavelengths are float32


@KINDS
@pytest.mark.parametrize("num_tracks", [0, 1, 3])
@torch.no_grad()
def test_decoder_equals_a_loop(merge_layer, num_tracks):
    torch.manual_seed(0)
    decoder = DeformableDecoder(3, 8, 2, 16, 2, 2, dab=True, merge_layer=merge_layer).double().eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    shapes, ratios = [(3, 4), (2, 2)], torch.tensor([[[0.75, 0.5], [1.0, 0.5]]], dtype=torch.float64)
    queries, memory = torch.randn(1, 4 + num_tracks, 8).double(), torch.randn(1, 16, 8).double()
    references = torch.rand(1, 4 + num_tracks, 4).double() * 0.8 + 0.1
    decoded = decoder(queries, None, references, memory, shapes, ratios, num_objects=4)
    expected = decode_by_loop(decoder, queries, references, memory, shapes, ratios, 4)
    for index, (hidden, boxes, following) in enumerate(expected):
        torch.testing.assert_close(decoded.hidden[index], hidden, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(decoded.boxes_cxcywh[index], boxes, rtol=1e-5, atol=1e-6)
        if index < 2:
            torch.testing.assert_close(decoded.references[index + 1], following, rtol=1e-5, atol=1e-6)


def test_shapes_and_ranges():
    output = dab_detector()(images(), tracks=make_tracks(2, dab=True))
    assert output.logits.shape == (3, 2, 8, 1)
    assert [tuple(one.shape) for one in output.references] == [(2, 8, 4)] * 3
    assert ((output.boxes_cxcywh > 0) & (output.boxes_cxcywh < 1)).all()


def test_initial_boxes_lie_at_their_anchors():
    torch.manual_seed(0)
    detector = DeformableDETR(
        SmallBackbone(8), num_queries=400, embed_dim=32, num_heads=4, ffn_dim=32, num_decoder_layers=2, dab=True
    ).eval()
    with torch.no_grad():
        output = detector(images(1).float())
    boxes = output.boxes_cxcywh[-1, 0]
    torch.testing.assert_close(boxes, detector.anchors.weight.sigmoid(), atol=1e-5, rtol=0)
    torch.testing.assert_close(boxes[:, 2:], torch.full((400, 2), 0.1192), atol=1e-4, rtol=0)
    for centers in (boxes[:, 0], boxes[:, 1]):
        assert centers.histc(4, 0, 1).min() > 70, "about 100 in every quarter"


def test_last_box_head_and_reference_give_the_boxes():
    """An association module on top of the decoder refines these boxes with the same head."""
    detector = dab_detector()
    output = detector(images(), tracks=make_tracks(2, dab=True))
    again = (detector.decoder.box_heads[-1](output.hidden[-1]) + inverse_sigmoid(output.references[-1])).sigmoid()
    assert torch.equal(again, output.boxes_cxcywh[-1])


def test_tracks_enter_at_the_merge_layer():
    detector, tracks, seen = dab_detector(merge_layer=2), make_tracks(2, dab=True), []

    def hook(layer, queries):
        seen.append(queries.shape[1])
        return queries

    output, alone = detector(images(), tracks=tracks, on_decoder_layer=hook), detector(images())
    assert seen == [6, 6, 8]
    # Not equal in every bit on every processor: more rows may take another path through a matrix product.
    torch.testing.assert_close(output.hidden[:2, :, :6], alone.hidden[:2])
    assert not torch.allclose(output.hidden[2, :, :6], alone.hidden[2])
    for layer in (0, 1):
        assert torch.equal(output.hidden[layer, :, 6:], tracks.queries)
        assert torch.equal(output.references[layer + 1][:, 6:], tracks.ref_logits.sigmoid())


@KINDS
def test_padded_tracks_have_no_effect(merge_layer):
    detector = dab_detector(merge_layer)
    few, many = make_tracks(2, dab=True), make_tracks(5, dab=True)
    queries, references = many.queries.clone(), many.ref_logits.clone()
    queries[:, :2], references[:, :2] = few.queries, few.ref_logits
    padded = replace(many, valid=torch.arange(5).expand(2, -1) < 2, queries=queries, ref_logits=references)
    result, expected = detector(images(), tracks=padded), detector(images(), tracks=few)
    torch.testing.assert_close(result.hidden[:, :, :8], expected.hidden, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.boxes_cxcywh[:, :, :8], expected.boxes_cxcywh, rtol=1e-9, atol=1e-9)
    assert result.boxes_cxcywh.isfinite().all()
    order = [1, 0]
    turned = replace(few, queries=few.queries[:, order], ref_logits=few.ref_logits[:, order])
    permuted = detector(images(), tracks=turned)
    torch.testing.assert_close(permuted.hidden[:, :, 6:], expected.hidden[:, :, 6:][:, :, order])


def test_every_parameter_has_gradient():
    detector = dab_detector().train()
    losses, _ = SetCriterion()(detector(images(), tracks=make_tracks(2, dab=True)), make_targets([2, 3]))
    SetCriterion().total(losses).backward()
    assert [name for name, one in detector.named_parameters() if one.grad is None or not one.grad.any()] == []


def test_gradient_of_the_positions():
    torch.manual_seed(0)
    position = AnchorPosition(4).double()
    anchors = (torch.rand(1, 2, 4).double() * 0.8 + 0.1).requires_grad_()
    content = torch.randn(1, 2, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(position, (anchors, content))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    detector = dab_detector(dtype=torch.float32)
    expected = detector(images().float())
    with torch.autocast("cpu", dtype=dtype):
        output = detector(images().float())
    torch.testing.assert_close(output.boxes_cxcywh.float(), expected.boxes_cxcywh, atol=0.05, rtol=0)
    half = AnchorPosition(8).to(torch.bfloat16)
    assert half(torch.rand(1, 2, 4), torch.zeros(1, 2, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_runs_on_device_of_inputs():
    tracks = make_tracks(3, dab=True)
    names = ("ids", "valid", "queries", "ref_logits")
    tracks = replace(tracks, **{name: getattr(tracks, name).to("meta") for name in names})
    output = dab_detector().to("meta")(images().to("meta"), tracks=tracks)
    assert output.boxes_cxcywh.device.type == "meta"


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match="merge_layer: expected 0 to 2, a layer of the decoder, got 3"):
        DeformableDecoder(3, 8, 2, dab=True, merge_layer=3)
    with pytest.raises(ValueError, match="merge_layer: expected 0 without dab, because centers have no size, got 1"):
        DeformableDecoder(3, 8, 2, merge_layer=1)
    with pytest.raises(ValueError, match=r"query_positions: expected a tensor \(B, N, C\) without dab, got None"):
        DeformableDecoder(1, 8, 2, 16, 1)(
            torch.zeros(1, 1, 8), None, torch.rand(1, 1, 4), torch.zeros(1, 1, 8), [(1, 1)], torch.ones(1, 1, 2)
        )
    with pytest.raises(ValueError, match="embed_dim must be a multiple of 4"):
        sine_boxes(torch.rand(1, 4), 6)
