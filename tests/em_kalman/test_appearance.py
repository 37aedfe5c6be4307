"""Appearance network distilled from box associations; identities are used for measuring only."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import DetectionSequence, NeuralKalmanFilter, Schedule, WindowBatch, WindowSampler, distill_loss, fit
from em_kalman.appearance.appearance_network import (
    AppearanceNetwork,
    _window_loss,
    crop_boxes,
    distill,
    embed_detections,
)
from mot_core.association.costs import overlap_matrix
from mot_core.data.decode import read_image
from mot_core.io import BoxTable, find_sequences


def similarity_gap(student, sequence, images, ids):
    """Return the mean cosine of detections of one identity in different frames, minus that of different identities."""
    found = embed_detections(student, sequence, images).numpy()
    rows = np.flatnonzero(ids >= 0)
    frames = sequence.table.frames[rows]
    cosine, same = found[rows] @ found[rows].T, ids[rows][:, None] == ids[rows]
    apart = np.abs(frames[:, None] - frames)
    pairs = (apart > 0) & (apart <= 20)
    return cosine[same & pairs].mean() - cosine[~same & pairs].mean()


def colored_street(first, last):
    """Return a scene of static people in three colors, who swap positions between both halves, and its frames."""
    colors = np.array([[220, 40, 40], [40, 200, 60], [50, 60, 220]], np.uint8)
    places = (30, 90, 150) if first == 1 else (150, 30, 90)
    boxes = np.array([[x, 20, x + 30, 90] for x in places], float)
    frames = np.repeat(np.arange(first, last + 1), 3)
    ids = np.tile(np.arange(3), last + 1 - first)
    table = BoxTable(frames, np.full(len(frames), -1), np.tile(boxes, (last + 1 - first, 1)))

    def images(number):
        image = np.random.default_rng(number).integers(90, 130, (110, 210, 3), np.uint8)
        for (x1, y1, x2, y2), color in zip(boxes.astype(int), colors, strict=True):
            image[y1:y2, x1:x2] = color
        return image

    return DetectionSequence("street", table, range(first, last + 1), (110, 210)), images, ids


def test_crops_equal_those_of_pillow():
    image = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    boxes = [(10, 20, 40, 90), (100, 0, 300, 200), (50, 60, 51, 61)]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    found = crop_boxes(image, np.array(boxes, float)).permute(0, 2, 3, 1).numpy() * std + mean
    for crop, box in zip(found, boxes, strict=True):
        wanted = Image.fromarray(image).crop(box).resize((64, 128), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(crop * 255, np.asarray(wanted), atol=1.5)


def test_crops_at_the_border():
    image = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    inside, over, outside = crop_boxes(torch.from_numpy(image), [[30, 30, 50, 50], [30, 30, 90, 90], [60, 60, 90, 90]])
    assert torch.equal(inside, over)
    assert not outside.any()
    assert crop_boxes(image, np.zeros((0, 4))).shape == (0, 3, 128, 64)


def test_loss_of_a_window_equals_a_loop():
    rng = torch.Generator().manual_seed(0)
    valid = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1]]]).bool()
    boxes = torch.tensor([[10.0, 10, 40, 80], [50, 5, 80, 70], [20, 20, 60, 90]]).expand(1, 3, 3, 4)
    batch = WindowBatch(boxes, valid, torch.tensor([[100, 100]]), torch.tensor([[4, 5, 6]]))
    assoc = 0.6 * torch.rand(1, 3, 3, 3, generator=rng).softmax(2) * valid[:, :1, :, None] * valid[:, :, None]
    pictures = {n: np.random.default_rng(n).integers(0, 255, (100, 100, 3), np.uint8) for n in (4, 5, 6)}
    student = AppearanceNetwork().eval()
    features = {n: student(crop_boxes(pictures[n], boxes[0, 0])) for n in pictures}
    total, count = 0.0, 0
    for t, number in ((1, 5), (2, 6)):
        for n in range(3):
            if valid[0, t, n]:
                logits = [10 * (features[4][k] @ features[number][n]).item() for k in (0, 1)]
                norm = math.log(sum(math.exp(logit) for logit in logits))
                for k in (0, 1):
                    p = assoc[0, t, k, n].item()
                    total += p * (math.log(p) - logits[k] + norm)
                count += 1
    assert _window_loss(student, assoc, batch, pictures.__getitem__).item() == pytest.approx(total / count, rel=1e-4)


def test_student_learns_colors_from_boxes():
    torch.manual_seed(0)
    student = AppearanceNetwork().eval()
    learn, images, _ = colored_street(1, 40)
    held_out, images_later, ids = colored_street(41, 50)
    before = similarity_gap(student, held_out, images_later, ids)
    history = distill(student, make_distance_model(-8.0), [(learn, images)], epochs=2, lr=1e-3)
    assert history[1]["loss"] < 0.5 * history[0]["loss"]
    after = similarity_gap(student, held_out, images_later, ids)
    assert after > before + 0.3


def test_teacher_is_unchanged_and_student_is_reproducible():
    learn, images, _ = colored_street(1, 20)
    teacher, states = make_distance_model(-8.0), []
    kept = {name: value.clone() for name, value in teacher.state_dict().items()}
    for _ in range(2):
        torch.manual_seed(0)
        student, lines = AppearanceNetwork(), []
        assert distill(student, teacher, [(learn, images)], epochs=1, report=lines.append) == lines
        states.append(student.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))
    assert all(torch.equal(value, kept[name]) for name, value in teacher.state_dict().items())


def test_invalid_arguments():
    with pytest.raises(ValueError, match="backbone must be 'small' or 'timm:NAME', got 'osnet'"):
        AppearanceNetwork("osnet")
    with pytest.raises(ValueError, match=r"image must have shape \(H, W, 3\), got \(4, 5\)"):
        crop_boxes(np.zeros((4, 5), np.uint8), [[0, 0, 1, 1]])
    short, images, _ = colored_street(1, 5)
    with pytest.raises(ValueError, match="expected a window of 10 frames"):
        distill(AppearanceNetwork(), make_distance_model(), [(short, images)])


def test_missing_timm_names_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match="needs timm"):
        AppearanceNetwork("timm:resnet18")


@pytest.mark.slow
def test_on_real_frames(mot_data):
    """Train teacher and student on frames 1 to 150 of PETS09-S2L1 without labels, and measure on the next 100."""
    sequence = find_sequences(mot_data / "MOT15" / "train" / "PETS09-S2L1")[0]
    table, truth = sequence.detections("sort"), sequence.ground_truth()
    learn, held_out = (
        DetectionSequence("PETS", table, frames, sequence.image_size) for frames in (range(1, 151), range(151, 251))
    )
    torch.manual_seed(0)
    teacher = NeuralKalmanFilter()
    fit(teacher, WindowSampler([learn], stride=2), Schedule(min_steps=100))
    ids = np.full(len(table), -1)
    for frame in held_out.frames:
        rows, real = table.frame(frame), truth.frame(frame)
        overlap = overlap_matrix(table.boxes_xyxy[rows].T, truth.boxes_xyxy[real].T)
        ids[rows] = np.where(overlap.max(1) >= 0.5, truth.ids[real][overlap.argmax(1)], -1)

    def images(number):
        return read_image(sequence.image_path(number))

    student = AppearanceNetwork().eval()
    before = similarity_gap(student, held_out, images, ids)
    history = distill(student, teacher, [(learn, images)], epochs=4, lr=1e-3)
    after = similarity_gap(student, held_out, images, ids)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]  # 0.81 -> 0.30
    assert after > before + 0.1  # 0.01 -> 0.18


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_logits_that_are_not_finite_are_rejected(value):
    logits = torch.zeros(3, 3)
    logits[1, 2] = value
    with pytest.raises(ValueError, match="student_logits: expected finite numbers"):
        distill_loss(logits, torch.eye(3))
    logits[1] = 0
    assert distill_loss(logits, torch.eye(3)).item() == pytest.approx(math.log(3))
