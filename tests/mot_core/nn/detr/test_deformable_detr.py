"""The detector: padding, tracks, hooks, gradients and sizes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from _helpers.trackers.tiny_detectors import make_detector, make_targets, make_tracks
from mot_core.nn import DeformableDETR, SetCriterion, SmallBackbone, sine_position
from mot_core.nn.detr.pyramid import flatten_masks, valid_ratios
from mot_core.structures import FeaturePyramid


def images(batch=2, height=64, width=96):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def assert_same(a, b, slots=slice(None), **tolerance):
    for name in ("logits", "boxes_cxcywh", "hidden"):
        torch.testing.assert_close(
            getattr(a, name)[:, :, slots], getattr(b, name)[:, :, slots], **({"rtol": 1e-9, "atol": 1e-9} | tolerance)
        )


def test_shapes_and_ranges():
    detector = make_detector(num_classes=3)
    output = detector(images(), tracks=make_tracks(2))
    assert output.logits.shape == (3, 2, 8, 3)
    assert output.boxes_cxcywh.shape == (3, 2, 8, 4)
    assert output.hidden.shape == (3, 2, 8, 32)
    assert [tuple(r.shape) for r in output.references] == [(2, 8, 2), (2, 8, 4), (2, 8, 4)]
    assert ((output.boxes_cxcywh > 0) & (output.boxes_cxcywh < 1)).all()
    assert detector.strides == (8, 16, 32, 64)


def test_parameter_count_of_small_detector():
    detector = DeformableDETR(
        SmallBackbone(),
        num_queries=50,
        embed_dim=64,
        num_encoder_layers=1,
        num_decoder_layers=2,
        ffn_dim=128,
        num_levels=3,
    )
    assert 450_000 < sum(parameter.numel() for parameter in detector.parameters()) < 550_000


def test_frames_of_a_batch_are_independent():
    detector, both = make_detector(), images()
    together = detector(both)
    alone = [detector(image[None]) for image in both]
    for name in ("logits", "boxes_cxcywh", "hidden"):
        torch.testing.assert_close(torch.cat([getattr(output, name) for output in alone], 1), getattr(together, name))


def test_padded_pixels_have_no_effect():
    detector, given = make_detector(), images()
    mask = torch.zeros(2, 64, 96, dtype=torch.bool)
    mask[0, 40:], mask[0, :, 72:] = True, True
    expected = detector(given, mask)
    for garbage in (7.0, float("nan")):
        assert_same(detector(given.masked_fill(mask[:, None], garbage), mask), expected, rtol=0, atol=0)


def test_padded_maps_have_no_effect():
    """Encoder, decoder and positions give the same results with a padded pyramid, whatever its padded cells contain.

    (A convolution does depend on the image border: it reads zeros beyond an edge, and biased zeros on padding.)
    """
    detector = make_detector()
    bare = detector.features(images())
    levels, masks = [], []
    for level in bare.levels:
        levels.append(F.pad(level, (0, 3, 0, 2), value=float("nan")))
        masks.append(F.pad(torch.zeros(level.shape[0], *level.shape[2:], dtype=torch.bool), (0, 3, 0, 2), value=True))
    positions = [sine_position(mask, 32) for mask in masks]
    padded = FeaturePyramid(tuple(levels), tuple(masks), tuple(positions))
    memory, expected = detector.encode(padded), detector.encode(bare)
    # Grids and positions are float32, which limits the agreement.
    torch.testing.assert_close(memory[~flatten_masks(masks)], expected.flatten(0, 1), rtol=1e-4, atol=1e-5)
    assert_same(detector.decode(padded, memory), detector.decode(bare, expected), rtol=1e-4, atol=1e-5)


def test_frame_of_padding_only_is_finite():
    detector = make_detector()
    mask = torch.zeros(2, 64, 96, dtype=torch.bool)
    mask[1] = True
    output = detector(images(), mask)
    assert output.boxes_cxcywh.isfinite().all()
    torch.testing.assert_close(valid_ratios([mask])[1], torch.tensor([[1 / 96, 1 / 64]]))


@pytest.mark.parametrize("track_attention", [False, True])
def test_padded_tracks_have_no_effect(track_attention):
    detector = make_detector(track_attention=track_attention)
    few, many = make_tracks(2), make_tracks(5)
    valid = torch.arange(5).expand(2, -1) < 2
    queries, references = many.queries.clone(), many.ref_logits.clone()
    queries[:, :2], references[:, :2] = few.queries, few.ref_logits
    padded = replace(many, valid=valid, queries=queries, ref_logits=references)
    expected = detector(images(), tracks=few)
    result = detector(images(), tracks=padded)
    assert_same(result, expected, slice(8))
    assert result.boxes_cxcywh.isfinite().all()


@pytest.mark.parametrize("track_attention", [False, True])
def test_invalid_tracks_equal_no_tracks(track_attention):
    detector = make_detector(track_attention=track_attention)
    invalid = make_tracks(3, valid=torch.zeros(2, 3, dtype=torch.bool))
    expected = detector(images())
    assert_same(detector(images(), tracks=invalid), expected, slice(6))
    assert_same(detector(images(), tracks=make_tracks(0)), expected)


def test_objects_attend_to_tracks_in_any_order():
    detector = make_detector(track_attention=True)
    tracks = make_tracks(4)
    output = detector(images(), tracks=tracks)
    assert not torch.allclose(output.hidden[-1, :, :6], detector(images()).hidden[-1])
    order = [2, 0, 3, 1]
    turned = replace(tracks, queries=tracks.queries[:, order], ref_logits=tracks.ref_logits[:, order])
    assert_same(detector(images(), tracks=turned), output, slice(6))
    torch.testing.assert_close(detector(images(), tracks=turned).hidden[:, :, 6:], output.hidden[:, :, 6:][:, :, order])


def test_hook_position_in_decoder_layer():
    detector = make_detector()
    seen, normed, entered = [], [], []
    for layer in detector.decoder.layers:
        layer.cross_attn_norm.register_forward_hook(lambda module, given, output: normed.append(output))
        layer.ffn.register_forward_hook(lambda module, given, output: entered.append(given[0]))

    def hook(index, queries):
        seen.append((index, queries))
        return queries + 1 if index == 1 else queries

    output = detector(images(), on_decoder_layer=hook)
    assert [index for index, _ in seen] == [0, 1, 2]
    for layer, (_, queries) in enumerate(seen):
        assert queries is normed[layer]
        assert torch.equal(entered[layer], queries + (layer == 1))
    bare = detector(images())
    assert torch.equal(bare.hidden[0], output.hidden[0])
    assert not torch.allclose(bare.hidden[1], output.hidden[1])
    assert_same(detector(images(), on_decoder_layer=lambda _, queries: queries), bare, rtol=0, atol=0)


def test_features_can_be_replaced():
    detector = make_detector()
    doubled = detector(images(), on_features=lambda p: replace(p, levels=tuple(2 * level for level in p.levels)))
    assert not torch.allclose(doubled.hidden, detector(images()).hidden)
    assert_same(detector(images(), on_features=lambda p: p), detector(images()), rtol=0, atol=0)


def test_every_parameter_has_gradient():
    detector = make_detector(track_attention=True).train()
    targets = make_targets([2, 3])
    losses, _ = SetCriterion()(detector(images(), tracks=make_tracks(2)), targets)
    SetCriterion().total(losses).backward()
    without = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert without == []
    # Boxes enter the next layer without gradient: a head is trained by its own layer's losses only.
    detector.zero_grad()
    output = detector(images())
    output.boxes_cxcywh[-1].sum().backward()
    assert not detector.decoder.box_heads[0].layers[0].weight.grad.any()
    assert detector.decoder.box_heads[-1].layers[0].weight.grad.abs().sum() > 0


def test_overfits_one_frame():
    torch.manual_seed(0)
    detector = make_detector(dtype=torch.float32, num_decoder_layers=2, num_encoder_layers=1, num_levels=3)
    targets = make_targets([2], dtype=torch.float32)
    criterion = SetCriterion()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    pixels = images(1).float()
    totals = []
    for _ in range(30):
        losses, _ = criterion(detector(pixels), targets)
        total = criterion.total(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.4 * totals[0]


def test_initial_classes_and_boxes():
    torch.manual_seed(0)
    detector = DeformableDETR(
        SmallBackbone(8), num_queries=6, embed_dim=32, num_heads=4, ffn_dim=32, num_decoder_layers=2
    )
    output = detector(images().float())
    torch.testing.assert_close(output.boxes_cxcywh[0, ..., :2], output.references[0])
    torch.testing.assert_close(output.boxes_cxcywh[1, ..., 2:], torch.full((2, 6, 2), 0.1192), atol=1e-4, rtol=0)
    assert all(head.bias.tolist() == [pytest.approx(-4.595, abs=1e-3)] for head in detector.class_heads)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    detector = make_detector(dtype=torch.float32)
    expected = detector(images().float())
    with torch.autocast("cpu", dtype=dtype):
        output = detector(images().float())
        losses, _ = SetCriterion()(output, make_targets([2, 3], dtype=torch.float32))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    torch.testing.assert_close(output.boxes_cxcywh.float(), expected.boxes_cxcywh, atol=0.05, rtol=0)


@pytest.mark.slow
def test_compiles_without_breaks():
    detector = make_detector(dtype=torch.float32, num_encoder_layers=1, num_decoder_layers=1, num_levels=3)
    compiled = torch.compile(detector, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_same(compiled(images().float()), detector(images().float()), rtol=1e-5, atol=1e-6)


def test_runs_on_device_of_inputs():
    """Every tensor is created on the device of the input; "meta" cannot be mixed with other devices."""
    detector, tracks = make_detector(track_attention=True).to("meta"), make_tracks(3)
    names = ("ids", "valid", "queries", "ref_logits")
    tracks = replace(tracks, **{name: getattr(tracks, name).to("meta") for name in names})
    mask = torch.zeros(2, 64, 96, dtype=torch.bool, device="meta")
    output = detector(images().to("meta"), mask, tracks)
    assert output.boxes_cxcywh.device.type == "meta"
    assert output.boxes_cxcywh.shape == (3, 2, 9, 4)


def test_invalid_arguments_are_rejected():
    detector = make_detector()
    with pytest.raises(ValueError, match=r"images must have shape \(B, 3, H, W\), got \(3, 64, 96\)"):
        detector(images()[0])
    with pytest.raises(ValueError, match=r"padding_mask .* \(B, H, W\) = \(2, 64, 96\), got \(2, 96, 64\)"):
        detector(images(), torch.zeros(2, 96, 64, dtype=torch.bool))
    with pytest.raises(ValueError, match="tracks must have queries and ref_logits"):
        detector(images(), tracks=replace(make_tracks(1), queries=None))
    with pytest.raises(ValueError, match=r"hook of decoder layer 0 must return queries of shape \(2, 6, 32\)"):
        detector(images(), on_decoder_layer=lambda _, queries: queries[:, :3])
    with pytest.raises(ValueError, match="embed_dim must be a multiple of 32"):
        DeformableDETR(SmallBackbone(), embed_dim=48)
    with pytest.raises(ValueError, match="num_levels must be at least 3"):
        DeformableDETR(SmallBackbone(), num_levels=2)
    with pytest.raises(ValueError, match="needs 4 levels with their positions, got 4 levels and 0 positions"):
        detector.encode(replace(detector.features(images()), positions=None))
