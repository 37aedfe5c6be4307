"""Backbones: names and sizes, frozen stages, and a missing timm."""

import sys

import pytest
import torch

from mot_core.nn import FrozenBatchNorm, ResNet50, SmallBackbone, TimmBackbone


def on_meta(*arguments, **options):
    with torch.device("meta"):
        return ResNet50(*arguments, **options)


def test_resnet_names_and_sizes_of_release():
    state = on_meta("live").state_dict()
    assert len(state) == 318  # 53 convolutions, and 53 norms of five tensors each
    assert state["layer4.0.downsample.0.weight"].shape == (2048, 1024, 1, 1)
    assert state["layer3.5.bn3.running_var"].shape == (1024,)
    assert sum(p.numel() for p in on_meta("live").parameters()) == 23_508_032  # torchvision's without its classifier
    frozen = on_meta().state_dict()
    assert set(state) - set(frozen) == {name for name in state if name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(("stages", "first"), [(0, "conv1"), (1, "layer1"), (2, "layer2"), (4, "layer4")])
def test_resnet_frozen_stages(stages, first):
    learning = [name for name, parameter in on_meta(frozen_stages=stages).named_parameters() if parameter.requires_grad]
    assert learning[0].split(".")[0] == first
    assert not any("bn" in name for name in learning)
    assert not any(parameter.requires_grad for parameter in on_meta(frozen_stages=5).parameters())


def test_frozen_norm_equals_batch_norm_in_evaluation():
    torch.manual_seed(0)
    live, frozen = torch.nn.BatchNorm2d(4).double().eval(), FrozenBatchNorm(4).double()
    for name, tensor in live.state_dict().items():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.5, 2)
            getattr(frozen, name).copy_(tensor)
    x = torch.randn(2, 4, 3, 3).double()
    assert torch.equal(frozen.train()(x), live(x))
    assert list(frozen.parameters()) == []


def test_live_norm_has_gradient_and_counts():
    torch.manual_seed(0)
    backbone = ResNet50("live", frozen_stages=0)
    backbone(torch.randn(2, 3, 32, 32))[-1].sum().backward()
    assert backbone.layer4[2].bn3.weight.grad.any()
    assert backbone.bn1.num_batches_tracked == 1


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 40)])
def test_map_sizes_match_strides(size):
    image = torch.randn(1, 3, *size)
    for backbone in (SmallBackbone(8), ResNet50()):
        levels = backbone(image)
        assert [level.shape[1] for level in levels] == list(backbone.channels)
        for level, stride in zip(levels, backbone.strides, strict=True):
            assert level.shape[2:] == tuple(-(-length // stride) for length in size)


def test_small_backbone_is_independent_of_batch():
    torch.manual_seed(0)
    backbone, images = SmallBackbone().double(), torch.randn(2, 3, 64, 64).double()
    alone = torch.cat([backbone(image[None])[-1] for image in images])
    torch.testing.assert_close(backbone(images)[-1], alone)
    assert 280_000 < sum(parameter.numel() for parameter in backbone.parameters()) < 340_000


def test_invalid_arguments_are_rejected(monkeypatch):
    with pytest.raises(ValueError, match='norm must be "frozen" or "live", got \'group\''):
        ResNet50("group")
    with pytest.raises(ValueError, match="frozen_stages must be 0 to 5"):
        ResNet50(frozen_stages=6)
    with pytest.raises(ValueError, match="width must be a multiple of 4, got 10"):
        SmallBackbone(10)
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    sentence = r"the backbone 'resnet18' needs timm: pip install '\./packages/mot-core\[timm\]'"
    with pytest.raises(ModuleNotFoundError, match=sentence):
        TimmBackbone("resnet18")
