"""The recipe of docs/recipes/fdta.md on Deformable DETR of Hugging Face, small and with random weights."""

import os

import pytest

if os.environ.get("MOT_TRANSFORMERS") != "1":
    pytest.skip("run by `nox -s tests_transformers`, which installs transformers", allow_module_level=True)

import torch
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

from _helpers.recipes import recipes_of
from fdta_adapters import FDTA
from fdta_adapters.foreign import depth_targets
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

SIZE = (64, 96)
attach = recipes_of("fdta.md")[0]["attach_deformable_detr"]


def build():
    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = DeformableDetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, d_model=32, num_queries=8,
        encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=4,
        decoder_attention_heads=4, num_labels=1,
    )  # fmt: skip
    return DeformableDetrForObjectDetection(config)


def clip():
    """Return images, their mask, labels and depth maps of three frames; the right third is padding."""
    random = torch.Generator().manual_seed(1)
    images, mask = torch.randn(3, 3, *SIZE, generator=random), torch.ones(3, *SIZE, dtype=torch.int64)
    mask[:, :, 64:] = 0
    labels = [
        {
            "class_labels": torch.zeros(2, dtype=torch.int64),
            "boxes": torch.tensor([[0.3, 0.4, 0.3, 0.3], [0.7, 0.6, 0.3, 0.3]]) + 0.02 * time,
            "track_ids": torch.tensor([7, 3]),
        }
        for time in range(3)
    ]
    depth = torch.full((3, 1, *SIZE), 40.0)
    depth[:, :, 12:38, 14:43] = 220.0
    return images, mask, labels, depth_targets(depth, [label["boxes"] for label in labels])


def plugins(**spatial):
    return FDTA(
        spatial={"residual": "gated", "num_bins": 10, "num_heads": 4} | spatial,
        temporal=None,
        identity={"start_epoch": 0, "min_quality": 0.0, "weighting": "none"},
    )


def attached(model, adapters):
    config = model.config
    matcher = DeformableDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
    return attach(model, matcher, *adapters)


@torch.no_grad()
def detect(model):
    images, mask, *_ = clip()
    model.call_targets = None
    outputs = model.eval()(pixel_values=images, pixel_mask=mask)
    return outputs.logits, outputs.pred_boxes, outputs.last_hidden_state


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_gated_adapter_leaves_the_detector_bit_identical():
    model = build()
    keys = list(model.state_dict())
    before = detect(model)
    tap = attached(model, plugins())
    assert same(detect(model), before)
    for layer in tap.plugins["fdta_spatial"].adapter.cross:
        torch.nn.init.constant_(layer.gate, 0.5)
    assert not same(detect(model), before)
    tap.detach()
    assert same(detect(model), before)
    assert list(model.state_dict()) == keys
    assert not [module for module in model.modules() if "forward" in vars(module)]


def test_queries_attend_between_cross_attention_and_feed_forward():
    model = build()
    tap = attached(model, plugins())
    adapter = tap.plugins["fdta_spatial"].adapter
    layer, seen = model.model.decoder.layers[1], {}
    torch.nn.init.constant_(adapter.cross[1].gate, 0.5)
    encode = adapter.encode
    adapter.encode = lambda *pyramid: seen.setdefault("state", encode(*pyramid))
    layer.encoder_attn_layer_norm.register_forward_pre_hook(lambda _, args: seen.update(crossed=args[0]))
    layer.mlp.register_forward_pre_hook(lambda _, args: seen.update(fed=args[0]))
    with tap, torch.no_grad():
        detect(model)
        norm = layer.encoder_attn_layer_norm
        crossed = torch.nn.functional.layer_norm(seen["crossed"], (32,), norm.weight, norm.bias)
        torch.testing.assert_close(seen["fed"], adapter.attend(1, crossed, seen["state"]))
        assert not torch.allclose(seen["fed"], crossed)
    # The right third of the 8 x 12 cells is padding.
    assert seen["state"].padding[0, 0].tolist() == [False] * 8 + [True] * 4


def test_adapters_are_trained():
    model = build().train()
    tap = attached(model, plugins())
    logged = {}
    tap._log = lambda name, value: logged.setdefault(name, []).append(float(value))
    before = {name: parameter.clone() for name, parameter in tap.plugins.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    images, mask, labels, model.call_targets = clip()
    with tap:
        for _ in range(25):
            outputs = model(pixel_values=images, pixel_mask=mask, labels=labels)
            own = sum(outputs.loss_dict[key] * weight for key, weight in OWN_WEIGHTS.items())
            added = logged["fdta_spatial/loss"][-1] + logged["fdta_identity/loss"][-1]
            torch.testing.assert_close(outputs.loss, own + added)
            optimizer.zero_grad()
            outputs.loss.backward()
            optimizer.step()
        assert not [name for name, value in tap.plugins.named_parameters() if torch.equal(value, before[name])]
    for name in ("fdta_spatial/loss", "fdta_identity/loss"):
        assert logged[name][-1] < 0.7 * logged[name][0]


OWN_WEIGHTS = {"loss_ce": 1, "loss_bbox": 5, "loss_giou": 2}
