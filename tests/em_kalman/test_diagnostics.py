"""Logged diagnostics against loops over objects and detections."""

import math
from dataclasses import replace

import pytest
import torch

from _helpers.em_kalman_windows import make_window, output_for, true_assoc
from em_kalman import EMKalmanLoss, NeuralKalmanFilter


def by_loop(batch, output, layout):
    result, inside, total = output.filter, 0.0, 0.0
    count, frames, objects, detections = output.assoc.shape
    for b in range(count):
        for t in range(1, frames):
            for i in range(objects):
                for j in range(detections):
                    joint = layout == "joint"
                    cov = result.predicted_cov[b, t] if joint else result.predicted_cov[b, t, i]
                    noise = output.measurement_noise[(b, t, j) if joint else (b, i)]
                    variance = (cov[i, i] if joint else cov[0, 0]) + noise
                    off = output.points[b, t, j] - result.predicted_mean[b, t, i, 0]
                    share = output.assoc[b, t, i, j].item()
                    total += share
                    inside += share * bool((off @ off) / variance <= 9.21)
    return 1 - inside / total


@pytest.mark.parametrize("layout", ["decoupled", "joint"])
@pytest.mark.parametrize("soft", [0.0, 0.2])
def test_gate_violations(layout, soft):
    batch = make_window(batch=2)
    assoc = (1 - soft) * true_assoc(batch) + soft / 5
    output = output_for(batch, assoc, layout=layout)
    found = EMKalmanLoss()(output, batch)["gate_violations"].item()
    assert found == pytest.approx(by_loop(batch, output, layout), abs=1e-9)
    assert (found > 0.1) if soft else (found < 0.05)


def test_unexplained_and_entropy_equal_a_loop():
    """Compare frame 1, and the entropy of all later detections with the dustbin included."""
    torch.manual_seed(0)
    batch, network = make_window(frames=4, objects=3, batch=2), NeuralKalmanFilter().double()
    valid = torch.rand(2, 4, 3) > 0.3
    batch = replace(batch, valid=valid)
    output = network(batch)
    plan, lost, entropy, later = output.log_plan.exp(), [], 0.0, 0
    for b, t, n in valid.nonzero().tolist():
        if t:
            origins = [plan[b, t - 1, k, n].item() for k in range(4) if k == 3 or valid[b, t - 1, k]]
            entropy -= sum(share * math.log(share) for share in origins)
            later += 1
        if t == 1:
            lost.append(1 - sum(plan[b, 0, k, n].item() for k in range(3)))
    found = EMKalmanLoss()(output, batch)
    assert found["unexplained"].item() == pytest.approx(sum(lost) / len(lost), abs=1e-9)
    assert found["assoc_entropy"].item() == pytest.approx(entropy / later, abs=1e-9)
