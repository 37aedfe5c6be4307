"""timm backbones with random weights. Run by `nox -s tests_timm`, the only environment with torchvision."""

import os

import pytest
import torch

from mot_core.association.registry import trainable_trackers
from mot_core.data import SyntheticDataModule
from mot_core.nn import TimmBackbone
from mot_core.trackers import DetectorSettings, DETRTracker

pytestmark = [
    pytest.mark.skipif("MOT_TIMM" not in os.environ, reason="needs timm and torchvision: nox -s tests_timm"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_strides_of_feature_maps(name):
    torch.manual_seed(0)
    backbone = TimmBackbone(name)
    images = torch.randn(2, 3, 64, 96)
    levels = backbone(images)
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.channels, (8, 16, 32), strict=True)
    ]
    levels[-1].square().sum().backward()
    assert all(one.grad.any() for one in list(backbone.parameters())[:2])


def test_models_with_other_strides_are_rejected():
    with pytest.raises(ValueError, match=r"the backbone 'vit_tiny_patch16_224' must have maps of strides 8, 16 and 32"):
        TimmBackbone("vit_tiny_patch16_224")


@pytest.mark.parametrize(
    "tracker_class", [one for one in trainable_trackers().values() if issubclass(one, DETRTracker)]
)
def test_training_step_of_trackers(tmp_path, tracker_class):
    import lightning

    torch.manual_seed(0)
    detector = DetectorSettings(
        "timm:resnet18", num_queries=8, embed_dim=32, num_heads=4, ffn_dim=32, num_levels=4, num_encoder_layers=1,
        num_decoder_layers=2,
    )  # fmt: skip
    tracker = tracker_class(detector)
    before = tracker.detector.backbone.body.conv1.weight.clone()
    data = SyntheticDataModule(num_videos=1, num_val_videos=1, num_frames=3, image_size=(64, 96), clip_length=3)
    trainer = lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(tracker, data)
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert not torch.equal(before, tracker.detector.backbone.body.conv1.weight)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = tracker_class.from_checkpoint(tmp_path / "x.ckpt")
    assert torch.equal(again.detector.backbone.body.conv1.weight, tracker.detector.backbone.body.conv1.weight)
