"""Appearance network of em-kalman with a timm backbone. Run by `nox -s tests_timm`."""

import os

import numpy as np
import pytest

pytestmark = pytest.mark.skipif("MOT_TIMM" not in os.environ, reason="needs timm and torchvision: nox -s tests_timm")


def test_training_step_with_a_timm_backbone():
    import torch

    from em_kalman import DetectionSequence, NeuralKalmanFilter
    from em_kalman.appearance.appearance_network import AppearanceNetwork, distill, embed_detections
    from mot_core.io import make_scene

    torch.manual_seed(0)
    student = AppearanceNetwork("timm:resnet18")
    before = student.backbone.body.conv1.weight.clone()
    scene = make_scene(num_objects=3, num_frames=10, image_size=(120, 160))
    street = DetectionSequence("street", scene.detections, range(1, 11), scene.image_size)

    def images(number):
        return np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)

    (line,) = distill(student, NeuralKalmanFilter(), [(street, images)], epochs=1)
    assert np.isfinite(line["loss"])
    assert not torch.equal(before, student.backbone.body.conv1.weight)
    assert embed_detections(student, street, images).shape == (len(scene.detections), 512)
