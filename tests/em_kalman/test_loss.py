"""Objectives against independent references, and their invariances."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from _helpers.em_kalman_windows import F64, make_window, output_for, true_assoc
from em_kalman import EMKalmanLoss, MotionModel, NeuralKalmanFilter, WindowBatch, frame_loglik
from mot_core.ops import rts_smoother

OBJECTIVES = ("predictive", "smoothed", "filtered", "published", "em")


def model(seed=0, **options):
    torch.manual_seed(seed)
    return NeuralKalmanFilter(**options).double()


def square(seed=0, **options):
    """Published form: no dustbin, and one joint state of all objects."""
    return model(seed, dustbin=False, layout="joint", **options)


def gradients(network, batch, objective):
    network.zero_grad()
    EMKalmanLoss(objective)(network(batch), batch)["loss"].backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def dense_4k(points, assoc, second_update):
    """Authors' objective with one state of 4 K numbers: rows, columns, then their velocities."""
    frames, size = assoc.shape[:2]
    none = np.zeros((size, size))
    move = np.block([[np.eye(2 * size), 0.01 * np.eye(2 * size)], [np.zeros((2 * size, 2 * size)), np.eye(2 * size)]])
    process = np.diag(np.r_[np.zeros(2 * size), np.full(2 * size, np.exp(5))])
    mean, cov = np.r_[points[0, :, 1], points[0, :, 0], np.zeros(2 * size)], 300 * np.eye(4 * size)
    value = 0.0
    for t in range(frames):
        z = np.r_[points[t, :, 1], points[t, :, 0]]
        look = np.block([[assoc[t].T, none, none, none], [none, assoc[t].T, none, none]])
        before, cov_before = mean, cov
        if t:
            before, cov_before = move @ mean, move @ cov @ move.T + process
            gain = cov_before @ look.T @ np.linalg.inv(look @ cov_before @ look.T + 5 * np.eye(2 * size))
            mean = before + gain @ (z - look @ before)
            cov = (np.eye(4 * size) - gain @ look) @ cov_before
        scored, scored_cov = mean, cov
        if second_update and t < frames - 1:
            again = cov @ move.T @ np.linalg.inv(cov_before)
            scored, scored_cov = mean + again @ (mean - before), cov + again @ (cov - cov_before) @ again.T
        spread = look @ scored_cov @ look.T + 5 * np.eye(2 * size)
        residual = z - look @ scored
        value += residual @ np.linalg.solve(spread, residual) + np.linalg.slogdet(2 * np.pi * spread)[1]
    return value / 2 / frames


@pytest.mark.parametrize(("objective", "second_update"), [("filtered", False), ("published", True)])
def test_published_objectives_equal_a_dense_implementation(objective, second_update):
    batch = make_window(frames=5, objects=4, speed=20)
    rng = torch.Generator().manual_seed(3)
    assoc = torch.rand(1, 5, 4, 4, generator=rng, dtype=F64)
    assoc = assoc / assoc.sum(2, keepdim=True)
    assoc[:, 0] = torch.eye(4)
    output = output_for(batch, assoc, MotionModel.published(), "joint")
    found = EMKalmanLoss(objective, normalize=False)(output, batch)["loss"].item()
    wanted = dense_4k(output.points[0].numpy(), assoc[0].numpy(), second_update)
    assert found == pytest.approx(wanted, rel=1e-9)
    assert wanted > 100


def test_decoupled_loss_equals_a_loop():
    """Compare with the equations of docs/methods/em_kalman.md, one object and detection at a time."""
    batch, network = make_window(frames=4, objects=3), model()
    batch = replace(batch, valid=torch.tensor([[[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]]).bool())
    output = network(batch)
    shares, boxes = output.assoc[0].tolist(), batch.boxes_xyxy[0].tolist()
    total, count = 0.0, 0
    for k in range(3):
        (x1, y1, x2, y2), h = boxes[0][k], boxes[0][k][3] - boxes[0][k][1]
        m, v, r, q = [(x1 + x2) / 2, (y1 + y2) / 2], [0.0, 0.0], (0.05 * h) ** 2, (0.02 * h) ** 2
        a, b, c = r, 0.0, (0.1 * h) ** 2
        for t in range(1, 4):
            m = [m[0] + v[0], m[1] + v[1]]
            a, b, c = a + 2 * b + c, b + c, c + q
            z = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in boxes[t]]
            share = [p if ok else 0 for p, ok in zip(shares[t][k], batch.valid[0, t].tolist(), strict=True)]
            for p, (x, y) in zip(share, z, strict=True):
                density = -((x - m[0]) ** 2 + (y - m[1]) ** 2) / (2 * (a + r)) - np.log(2 * np.pi * (a + r))
                total += p * density
            den = sum(share) * a + r
            y = [sum(p * (point[i] - m[i]) for p, point in zip(share, z, strict=True)) for i in (0, 1)]
            m, v = [m[i] + a / den * y[i] for i in (0, 1)], [v[i] + b / den * y[i] for i in (0, 1)]
            s = sum(share)
            a, b, c = a - s * a * a / den, b - s * a * b / den, c - s * b * b / den
    for t in range(1, 4):
        for n in range(3):
            if batch.valid[0, t, n]:
                total += (1 - sum(shares[t][k][n] for k in range(3))) * np.log(1 / (800 * 900))
                count += 1
    found = EMKalmanLoss()(output, batch)
    assert found["loss"].item() == pytest.approx(-total / count, rel=1e-9)
    assert found["nll_per_det"].item() == found["loss"].item()


def test_logit_offset_has_no_gradient_without_dustbin():
    found = gradients(square(), make_window(), "predictive")
    assert found["network.layers.2.bias"].abs() < 1e-6 * found["network.layers.2.weight"].abs().max()


def test_only_the_difference_to_the_dustbin_is_identified():
    found = gradients(model(), make_window(), "predictive")
    assert found["dustbin"].abs() > 1e-3
    torch.testing.assert_close(found["dustbin"], -found["network.layers.2.bias"][0])


@pytest.mark.parametrize("motion", [MotionModel(), MotionModel.published()])
def test_em_has_the_gradient_of_the_marginal_likelihood(motion):
    batch, network = make_window(speed=2), square(motion=motion)
    em, predictive = (gradients(network, batch, objective) for objective in ("em", "predictive"))
    assert predictive["network.layers.0.weight"].abs().max() > 1e-3
    for name in ("network.layers.0.weight", "network.layers.0.bias", "network.layers.2.weight"):
        torch.testing.assert_close(em[name], predictive[name], rtol=1e-8, atol=1e-9)
    smoothed = gradients(network, batch, "smoothed")
    assert not torch.allclose(smoothed["network.layers.0.weight"], predictive["network.layers.0.weight"], rtol=1e-2)


def gradients_fit(network, batch, loss):
    """Compare gradients at pair features and noise with finite differences."""

    def value(features, log_noise):
        network.features = lambda _: features
        network._parameters["log_noise"] = log_noise
        return loss(network(batch), batch)["loss"]

    features = network.features(batch).requires_grad_()
    log_noise = network.log_noise.detach().clone().requires_grad_()
    return torch.autograd.gradcheck(value, (features, log_noise), atol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES[:4])  # em holds its moments fixed
@pytest.mark.parametrize("dustbin", [False, True])
def test_gradcheck(objective, dustbin):
    batch = make_window(frames=3, objects=2, speed=1)
    network = model(dustbin=True, learn_noise=True) if dustbin else square(learn_noise=True)
    assert gradients_fit(network, batch, EMKalmanLoss(objective))


@pytest.mark.parametrize("dustbin", [False, True])
def test_gradcheck_of_em_with_its_moments_held(dustbin, monkeypatch):
    batch = make_window(frames=3, objects=2, speed=1)
    network = model(learn_noise=True) if dustbin else square(learn_noise=True)
    held = rts_smoother(network(batch).filter)
    monkeypatch.setattr("em_kalman.objectives.rts_smoother", lambda result: held)
    assert gradients_fit(network, batch, EMKalmanLoss("em"))


@pytest.mark.parametrize("layout", ["joint", "decoupled"])
@pytest.mark.parametrize("objective", ["predictive", "smoothed"])
def test_every_swap_raises_the_loss(layout, objective):
    rng = torch.Generator().manual_seed(0)
    for trial in range(100):
        batch = make_window(frames=6, objects=5, seed=trial, speed=2)
        truth = true_assoc(batch)
        frame = int(torch.randint(1, 6, (), generator=rng))
        pair = torch.randperm(5, generator=rng)[:2]
        swapped = truth.clone()
        swapped[:, frame, pair] = truth[:, frame, pair.flip(0)]
        uniform = torch.full_like(truth, 0.2)
        uniform[:, 0] = truth[:, 0]
        motion = MotionModel(q=0.01, r=1.0, p0=1.0, v0=4.0, scale="pixel")
        good, bad, worst = (
            -frame_loglik(output_for(batch, assoc, motion, layout), batch.valid, objective).sum()
            for assoc in (truth, swapped, uniform)
        )
        assert bad > good
        assert worst > 100 * good


def shuffle(batch, seed=5):
    rng = torch.Generator().manual_seed(seed)
    size = batch.valid.shape
    order = torch.stack([torch.randperm(size[2], generator=rng) for _ in range(size[0] * size[1])]).view(size)
    boxes = batch.boxes_xyxy.gather(2, order[..., None].expand_as(batch.boxes_xyxy))
    return replace(batch, boxes_xyxy=boxes, valid=batch.valid.gather(2, order)), order


@pytest.mark.parametrize("network", [model(), square()])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_invariance_to_order_and_identities(network, objective):
    batch = make_window(batch=2)
    loss = EMKalmanLoss(objective)
    output = network(batch)
    moved, order = shuffle(batch)
    moved_output = network(moved)
    found, wanted = loss(moved_output, moved), loss(output, batch)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)
    for b in range(2):
        for t in range(6):
            expected = output.assoc[b, t][order[b, 0]][:, order[b, t]]
            torch.testing.assert_close(moved_output.assoc[b, t], expected)
    noise = replace(batch, gt_ids=torch.randint(-1, 9, batch.gt_ids.shape))
    assert torch.equal(loss(network(noise), noise)["loss"], wanted["loss"])


@pytest.mark.parametrize("network", [model(), square()])
def test_translation_invariance(network):
    batch = make_window()
    moved = replace(batch, boxes_xyxy=batch.boxes_xyxy + 1000)
    found, wanted = (EMKalmanLoss()(network(one), one)["loss"] for one in (moved, batch))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


def test_detections_are_scaled_last():
    """Probabilities of a detection sum to 1, so the loss does not depend on the origin, unlike the authors' code."""
    batch = make_window()
    for last, exact in (("column", True), ("row", False)):
        network = square(last=last)
        with torch.no_grad():
            network.network.layers[2].weight *= 30
        error = (network(batch).assoc.sum(2) - 1).abs().max()
        assert (error < 1e-12) == exact


@pytest.mark.parametrize("dustbin", [True, False])
def test_image_size_adds_a_constant(dustbin):
    options = {"inclusive": False}
    network = model(**options) if dustbin else square(**options)
    batch = make_window()
    s = 3.0
    larger = replace(batch, boxes_xyxy=batch.boxes_xyxy * s, image_size=batch.image_size * s)
    results = []
    for one in (batch, larger):
        network.zero_grad()
        value = EMKalmanLoss()(network(one), one)
        value["loss"].backward()
        results.append((value["nll_per_det"], network.network.layers[0].weight.grad))
    shift = results[1][0] - results[0][0]
    assert shift.item() == pytest.approx(2 * np.log(s), abs=1e-9)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-7, atol=1e-9)


def test_padding_invariance():
    batch, network = make_window(batch=2), model()
    garbage = torch.full((2, 6, 3, 4), float("nan"), dtype=F64)
    padded = replace(
        batch,
        boxes_xyxy=torch.cat([batch.boxes_xyxy, garbage], 2),
        valid=torch.cat([batch.valid, torch.zeros(2, 6, 3, dtype=torch.bool)], 2),
        gt_ids=None,
    )
    for objective in ("predictive", "smoothed", "filtered", "em"):
        found, wanted = gradients(network, padded, objective), gradients(network, batch, objective)
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("empty", ["frame", "anchors", "all", "no slots"])
@pytest.mark.parametrize("objective", ["predictive", "smoothed", "filtered", "em"])
def test_empty_windows_are_finite(empty, objective):
    batch, network = make_window(batch=2), model()
    valid = batch.valid.clone()
    valid[0, {"frame": 2, "anchors": 0}.get(empty, slice(None))] = False
    batch = replace(batch, valid=valid)
    if empty == "no slots":
        batch = WindowBatch(batch.boxes_xyxy[:, :, :0], valid[:, :, :0], batch.image_size, batch.frames)
    output = network(batch)
    values = EMKalmanLoss(objective)(output, batch)
    values["loss"].backward()
    assert all(value.isfinite() for value in values.values())
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)
    if empty == "frame":
        torch.testing.assert_close(output.filter.mean[0, 2], output.filter.predicted_mean[0, 2])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("options", [{}, {"dustbin": False, "layout": "joint"}])
@pytest.mark.parametrize("case", ["one object", "duplicates", "no area"])
def test_odd_boxes_are_finite_in_float32(case, options, objective):
    batch = make_window(dtype=torch.float32)
    if case == "one object":
        batch = WindowBatch(batch.boxes_xyxy[:, :, :1], batch.valid[:, :, :1], batch.image_size, batch.frames)
    elif case == "duplicates":
        batch = replace(batch, boxes_xyxy=batch.boxes_xyxy[:, :, :1].expand(-1, -1, 5, -1))
    else:
        flat = batch.boxes_xyxy.clone()
        flat[:, :, 0, 2:] = flat[:, :, 0, :2]
        batch = replace(batch, boxes_xyxy=flat)
    torch.manual_seed(0)
    network = NeuralKalmanFilter(**options)
    loss = EMKalmanLoss(objective)(network(batch), batch)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(one.grad.isfinite().all() for one in network.parameters() if one.grad is not None)


def test_duplicate_boxes_and_half_precision():
    batch = make_window(dtype=torch.float32)
    batch = replace(batch, boxes_xyxy=batch.boxes_xyxy[:, :, :1].expand(-1, -1, 5, -1))
    network = NeuralKalmanFilter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = EMKalmanLoss()(network(batch), batch)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert network.dustbin.grad.isfinite()


@pytest.mark.parametrize("of_boxes", [torch.float64, torch.float16])
@pytest.mark.parametrize("of_model", [torch.float64, torch.float32, torch.bfloat16])
def test_boxes_and_model_may_differ_in_precision(of_boxes, of_model):
    """For example, boxes from NumPy are float64."""
    batch = make_window(dtype=of_boxes)
    found, wanted = (
        EMKalmanLoss()(network(window), window)["loss"]
        for network, window in (
            (model().to(of_model), batch),
            (model().to(of_model).double(), replace(batch, boxes_xyxy=batch.boxes_xyxy.double())),
        )
    )
    assert found.dtype == torch.promote_types(of_model, torch.float32)
    torch.testing.assert_close(found.double(), wanted, rtol=0.02 if of_model == torch.bfloat16 else 1e-4, atol=0)


def test_half_precision_padded_embeddings_have_no_gradient():
    batch = make_window(dtype=torch.float32)
    valid = batch.valid.clone()
    valid[:, :, 4] = False
    embeddings = torch.randn(1, 6, 5, 8).half().masked_fill(~valid[..., None], float("nan")).requires_grad_()
    batch = replace(batch, valid=valid, embeddings=embeddings)
    EMKalmanLoss()(NeuralKalmanFilter(embeddings=True)(batch), batch)["loss"].backward()
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad[valid].abs().sum() > 0


def test_learned_noise_has_a_floor_and_is_reported():
    network = NeuralKalmanFilter(learn_noise=True)
    with torch.no_grad():
        network.log_noise.fill_(-100.0)
    assert network.learned_motion().r == pytest.approx(0.05**2 / 100)
    assert NeuralKalmanFilter().learned_motion() == MotionModel()


def test_embeddings_join_the_features_with_gradient():
    batch = make_window(dtype=torch.float32)
    embeddings = torch.randn(1, 6, 5, 8, requires_grad=True)
    batch = replace(batch, embeddings=embeddings)
    network = NeuralKalmanFilter(embeddings=True)
    EMKalmanLoss()(network(batch), batch)["loss"].backward()
    assert embeddings.grad.abs().sum() > 0
    with pytest.raises(ValueError, match=r"batch\.embeddings: expected"):
        network(replace(batch, embeddings=None))


def test_invalid_arguments():
    batch = make_window()
    uneven = batch.valid.clone()
    uneven[0, 3, 1] = False
    uneven = replace(batch, valid=uneven)
    with pytest.raises(ValueError, match="frame 4: expected 5 detections as in the first frame, got 4"):
        square()(uneven)
    with pytest.raises(ValueError, match="expected windows without padding for published"):
        EMKalmanLoss("published")(model()(uneven), uneven)
    with pytest.raises(ValueError, match="objective must be one of predictive"):
        EMKalmanLoss("best")
    with pytest.raises(ValueError, match="needs dustbin=False"):
        NeuralKalmanFilter(layout="joint")
    with pytest.raises(ValueError, match=r"boxes_xyxy: expected finite corners, got .* of window"):
        model()(replace(batch, boxes_xyxy=batch.boxes_xyxy * float("inf")))
    with pytest.raises(ValueError, match="r must be a positive finite number, got 0"):
        MotionModel(r=0)
    with pytest.raises(ValueError, match="at least 2 frames"):
        batch.first_frames(1)


@pytest.mark.parametrize("size", [[[0, 640]], [[480, -640]], [[480, float("nan")]], [[float("inf"), 640]]])
def test_image_sizes_without_an_area_are_rejected(size):
    network, batch = model(), make_window()
    batch = replace(batch, image_size=torch.tensor(size).double().expand(len(batch.image_size), 2))
    with pytest.raises(ValueError, match="image_size: expected height and width in pixels"):
        EMKalmanLoss()(network(batch), batch)
