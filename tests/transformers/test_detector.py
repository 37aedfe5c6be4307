"""A randomly initialized RT-DETR of transformers as a detector, loaded from disk."""

import os

import numpy as np
import pytest

if os.environ.get("MOT_TRANSFORMERS") != "1":
    pytest.skip("run by `nox -s tests_transformers`, which installs transformers", allow_module_level=True)

import transformers
from mot_core.detectors import detect, load_detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rtdetr")
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=16, encoder_in_channels=[16, 16, 16], encoder_ffn_dim=16,
        encoder_attention_heads=2, d_model=16, num_queries=12, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16,
        decoder_layers=2, decoder_attention_heads=2, feat_strides=[8, 16, 32], id2label={0: "person", 1: "car"},
        label2id={"person": 0, "car": 1},
    )  # fmt: skip
    transformers.RTDetrForObjectDetection(config).save_pretrained(path)
    transformers.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(path)
    return path


def test_boxes_are_in_pixels_of_each_image(folder):
    detector = load_detector(f"transformers:{folder}")
    assert detector.class_names == {0: "person", 1: "car"}
    random = np.random.default_rng(0)
    small, large = (random.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((50, 70), (100, 140)))
    images = [small, np.repeat(np.repeat(small, 2, 0), 2, 1)]
    found = detector(images)
    assert [len(one) for one in found] == [12, 12]  # scores of an untrained network are near 0.5
    assert all(set(one.classes.tolist()) <= {0, 1} for one in found)
    assert found[0].boxes_xyxy.max() <= 70 * 1.5
    assert found[1].boxes_xyxy.max() > found[0].boxes_xyxy.max()
    assert len(detect(detector, large, {0})) <= 12


def test_folders_without_a_detector(tmp_path):
    with pytest.raises(ValueError, match="expected an object detector and its image processor of save_pretrained"):
        load_detector(f"transformers:{tmp_path}")
