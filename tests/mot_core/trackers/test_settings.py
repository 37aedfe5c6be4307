"""Settings of detector and optimizer: the built detector and the learning rate schedule."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from _helpers.trackers.toy_tracker import SMALL
from mot_core.nn import ResNet50, SmallBackbone
from mot_core.trackers import DetectorSettings, OptimizerSettings
from mot_core.trackers.settings import LARGEST


def test_detector_matches_its_settings():
    detector = SMALL.build(track_attention=True)
    assert isinstance(detector.backbone, SmallBackbone)
    assert (detector.num_queries, detector.embed_dim, detector.strides) == (8, 32, (8, 16, 32))
    assert (len(detector.encoder.layers), len(detector.decoder.layers)) == (1, 2)
    own = {name for name, _ in detector.named_parameters()}
    assert own - {name for name, _ in SMALL.build().named_parameters()}, "track attention has parameters"


def test_default_detector_is_that_of_the_papers():
    with torch.device("meta"):
        detector = DetectorSettings().build()
    assert isinstance(detector.backbone, ResNet50)
    frozen = [name for name, parameter in detector.backbone.named_parameters() if not parameter.requires_grad]
    assert {name.split(".")[0] for name in frozen} == {"conv1", "layer1"}
    assert detector.strides == (8, 16, 32, 64)


def test_unknown_backbones_are_rejected():
    with pytest.raises(ValueError, match="backbone: expected 'resnet50', 'small' or 'timm:NAME', got 'resnet18'"):
        DetectorSettings("resnet18").build()


@pytest.mark.parametrize("name", LARGEST)
def test_sizes_out_of_range_are_rejected(name):
    for value in (-1, 0, 10**12):
        with pytest.raises(ValueError, match=f"^{name}: expected 1 to [0-9,]+, got {value:,}$"):
            replace(SMALL, **{name: value})
    with pytest.raises(ValueError, match=r"dropout: expected a probability in \[0, 1\], got 1.5"):
        replace(SMALL, dropout=1.5)


@given(
    milestones=st.lists(st.integers(1, 8), max_size=3, unique=True).map(sorted).map(tuple),
    warmup=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    per_epoch=st.integers(1, 7),
)
def test_learning_rate_schedule(milestones, warmup, per_epoch):
    settings = OptimizerSettings(milestones=milestones, gamma=0.5, warmup_epochs=warmup)
    for step in range(9 * per_epoch):
        factor = settings.factor(step, per_epoch)
        falls = len([one for one in milestones if step // per_epoch >= one])
        if step + 1 >= warmup * per_epoch:
            assert factor == 0.5**falls
        else:
            assert factor == pytest.approx(0.5**falls * (step + 1) / (warmup * per_epoch))
    assert 0 < settings.factor(0, per_epoch) <= 1
