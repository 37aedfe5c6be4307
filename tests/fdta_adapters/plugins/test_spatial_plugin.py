"""Spatial adapter on trackers: placement, depth targets, tracking without depth."""

import copy

import pytest
import torch

from _helpers import fdta_reference as reference
from _helpers.trackers.tracker_cases import EAGER, batches, make, synthetic
from fdta_adapters import DepthBins, SpatialAdapter, SpatialAdapterPlugin
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.structures import TrackerSpec

OPTIONS = {"num_bins": 12, "dropout": 0.0}


def spatial(**options):
    return SpatialAdapterPlugin(**(OPTIONS | options))


def attached(name="motip", plugin=None, **options):
    tracker = make(name, plugin or spatial(), **options)
    tracker.setup()
    reference.randomize(tracker.plugins, scale=0.2)
    return tracker


def detect(tracker, batch, ctx=None):
    ctx = ctx or tracker.plugins.start_clip(training=False)
    return tracker.detect(batch.images[:, 0], batch.padding, ctx.at(0))[0]


def test_placement_equals_hooks_on_the_norm_of_the_cross_attention():
    batch = batches()[0]
    tracker = attached().eval()
    wanted = detect(tracker, batch)
    adapter = tracker.plugins["fdta_spatial"].adapter
    bare = make("motip").eval()
    bare.setup()
    bare.load_state_dict({key: one for key, one in tracker.state_dict().items() if not key.startswith("plugins.")})
    before = detect(bare, batch)
    pyramid = bare.detector.features(batch.images[:, 0], batch.padding)
    state = adapter.encode(pyramid.levels, pyramid.masks, pyramid.positions)
    hooks = [
        layer.cross_attn_norm.register_forward_hook(lambda _, given, output, k=k: adapter.attend(k, output, state))
        for k, layer in enumerate(bare.detector.decoder.layers)
    ]
    found = detect(bare, batch)
    for name in ("logits", "boxes_cxcywh", "hidden"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    assert not torch.equal(found.hidden, before.hidden)
    for hook in hooks:
        hook.remove()
    assert torch.equal(detect(bare, batch).hidden, before.hidden)


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_closed_gates_keep_the_tracker_bit_identical(name):
    batch = batches()[0]
    found = []
    for plugins in ([], [spatial(residual="gated", supervise=False)]):
        losses, clip = make(name, *plugins).losses(batch)
        found.append([value for key, value in losses.items() if "/" not in key] + [one.logits for one in clip.frames])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_tracking_needs_no_depth(monkeypatch):
    tracker = attached(**EAGER["motip"]).eval()
    monkeypatch.setattr(SpatialAdapter, "loss_terms", None)  # calling it would raise
    data = synthetic(with_depth=False)
    data.setup("validate")
    assert any(len(tracker.track(batch).ids) for batch in data.val_dataloader())
    store = tracker._tracking.store["fdta_spatial"]
    assert set(store) == {"state"}, "the storage of a stream must not grow"


def test_loss_equals_loops_over_frames():
    """Mean over the valid pixels of all frames with gradient; boxes are fractions of the image without padding."""
    batch = padded(batches()[0])
    tracker, logged = attached("motr"), {}
    losses, _ = tracker.losses(batch, log=logged.__setitem__)
    plugin = tracker.plugins["fdta_spatial"]
    bins = DepthBins(12, convention="disparity")
    edges = reference.bin_edges(12, bins.d_min, bins.d_max)
    total, count, errors = 0.0, 0, 0.0
    for time, truth in enumerate(batch.targets):
        pyramid = tracker.detector.features(batch.images[:, time], batch.padding)
        state = plugin.adapter.encode(pyramid.levels, pyramid.masks, pyramid.positions)
        height, width = state.depth.shape[1:]
        scale = truth.boxes_cxcywh.new_tensor([6, 4, 6, 4])  # 32 x 48 pixels of 40 x 64
        mask = reference.foreground(cxcywh_to_xyxy(truth.boxes_cxcywh) * scale, truth.valid, height, width)
        depth = torch.nn.functional.interpolate(truth.extras["depth"], (height, width), mode="bilinear")[:, 0]
        for b in range(len(batch)):
            for y in range(3):  # the last row and column of the image touch padding
                for x in range(5):
                    far = bins.d_max - depth[b, y, x].item() + bins.d_min
                    p = state.logits[b, :, y, x].softmax(0)[reference.find_bin(far, edges)]
                    total = total - (7.0 if mask[b, y, x] else 1.0) * 0.25 * (1 - p) ** 2 * p.log()
                    errors += abs(state.depth[b, y, x].item() - far)
                    count += 1
    torch.testing.assert_close(losses["fdta_spatial/loss"], total / count, rtol=1e-4, atol=1e-6)
    assert logged["fdta_spatial/depth_error"].item() == pytest.approx(errors / count, rel=1e-4)


def padded(batch):
    """Add 8 rows and 16 columns of padding."""

    def pad(image, value=0):
        return torch.nn.functional.pad(image, (0, 16, 0, 8), value=value)

    batch = copy.copy(batch)
    batch.images, batch.padding = pad(batch.images), pad(batch.padding, True)
    batch.targets = tuple(copy.copy(frame) for frame in batch.targets)
    for frame in batch.targets:
        frame.extras = frame.extras | {"depth": pad(frame.extras["depth"])}
    return batch


def test_content_of_padding_has_no_effect():
    batch = padded(batches()[0])
    wanted, clip = attached("motr").losses(batch)
    other = copy.deepcopy(batch)
    for frame in other.targets:
        frame.extras["depth"][:, :, 32:] = 255.0
        frame.extras["depth"][:, :, :, 48:] = float("nan")
    other.images[:, :, :, 32:] = 3.0
    found, again = attached("motr").losses(other)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(clip.frames, again.frames, strict=True))


def test_unknown_depth_is_ignored():
    """NaN marks pixels, or whole frames, whose depth is unknown."""
    batch = batches()[0]
    unknown = copy.deepcopy(batch)
    unknown.targets[1].extras["depth"][:] = float("nan")
    wanted = attached("motr").losses(unknown)[0]["fdta_spatial/loss"]
    assert wanted.isfinite()
    tracker = attached("motr")
    losses, _ = tracker.losses(batch)
    assert not torch.equal(losses["fdta_spatial/loss"], wanted)
    for frame in unknown.targets:
        frame.extras["depth"][:] = float("nan")
    loss = attached("motr").losses(unknown)[0]["fdta_spatial/loss"]
    assert loss.item() == 0
    loss.backward()


def test_missing_depth_is_an_error():
    batch = batches(with_depth=False)[0]
    with pytest.raises(
        ValueError, match=r"expected the depth maps of the frames in targets.extras\['depth'\], got none"
    ):
        attached().losses(batch)
    losses, _ = attached(plugin=spatial(supervise=False)).losses(batch)
    assert losses["fdta_spatial/loss"].item() == 0


def test_only_frames_with_gradient_are_supervised():
    batch = batches()[0]
    calls = []
    tracker = attached(gradient_frames=1)
    plugin = tracker.plugins["fdta_spatial"]
    compare = plugin._compare
    plugin._compare = lambda state, targets: calls.append(state.logits) or compare(state, targets)
    tracker.losses(batch)
    assert [len(logits) for logits in calls] == [len(batch)]
    assert calls[0].requires_grad


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_checkpointing_inside_and_outside(name):
    """Of the adapter, of the detector, and of one within the other."""
    options = {"gradient_frames": 1} if name == "motip" else {}
    batch, gradients = batches()[0], []
    for own, outer in ((False, False), (True, False), (True, True)):
        tracker = attached(name, spatial(checkpointing=own, dropout=0.2), checkpointing=outer, **options)
        start = tracker.plugins.start_clip
        contexts = []
        tracker.plugins.start_clip = lambda start=start, kept=contexts, **how: kept.append(start(**how)) or kept[-1]
        losses, _ = tracker.losses(batch)
        sum(losses.values()).backward()
        assert contexts[0].store["fdta_spatial"]["calls"] is None, "backward stores nothing again"
        gradients.append({key: one.grad for key, one in tracker.named_parameters() if one.grad is not None})
    for other in gradients[1:]:
        assert other.keys() == gradients[0].keys()
        assert all(torch.equal(one, gradients[0][key]) for key, one in other.items())


def test_released_divisor():
    """Sum over images of the means over pixels, divided by the boxes of the clip."""
    batch = batches()[0]
    tracker = attached("motr")
    wanted = tracker.losses(batch)[0]["fdta_spatial/loss"]
    other = attached("motr", spatial(normalizer="boxes", mask_padding=False))
    found = other.losses(batch)[0]["fdta_spatial/loss"]
    boxes = sum(frame.valid.sum() for frame in batch.targets)
    torch.testing.assert_close(found, wanted * len(batch) * batch.num_frames / boxes, rtol=1e-4, atol=1e-6)


def test_widths_must_agree():
    spec = TrackerSpec(
        "mine", frozenset({"features", "decoder_layer"}), embed_dim=16, feature_channels=(8,), strides=(8,)
    )
    with pytest.raises(ValueError, match=r"expected features and queries of equal width, got 8 and 16 channels"):
        spatial().setup(spec)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalizer": "images"}, "normalizer: expected pixels or boxes, got 'images'"),
        ({"foreground_weight": 0.0}, "foreground_weight: expected a positive number, got 0.0"),
        ({"bin_value": "right"}, "value: expected center or left_edge, got 'right'"),
        ({"weight": -1.0}, "weight must be a finite number of at least 0"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpatialAdapterPlugin(**arguments)
