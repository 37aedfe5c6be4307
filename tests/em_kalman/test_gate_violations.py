"""The share of associations that the motion finds improbable, against a loop over objects and detections."""

import pytest
from em_kalman_windows import make_window, output_for, true_assoc

from em_kalman import EMKalmanLoss


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
def test_share_of_improbable_associations(layout, soft):
    batch = make_window(batch=2)
    assoc = (1 - soft) * true_assoc(batch) + soft / 5
    output = output_for(batch, assoc, layout=layout)
    found = EMKalmanLoss()(output, batch)["gate_violations"].item()
    assert found == pytest.approx(by_loop(batch, output, layout), abs=1e-9)
    assert (found > 0.1) if soft else (found < 0.05)
