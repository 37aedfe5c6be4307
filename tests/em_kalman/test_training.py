"""Training on boxes alone, and collapse errors."""

import pytest
import torch

from _helpers.em_kalman_scenes import make_scene, track
from _helpers.em_kalman_windows import make_window
from em_kalman import (
    AssociationCollapse,
    EMKalmanLoss,
    EMKalmanTracker,
    MotionModel,
    NeuralKalmanFilter,
    Schedule,
    WindowSampler,
    fit,
)
from em_kalman.training import calibrate_dustbin
from mot_core.association import Sort
from mot_core.ops import sinkhorn


def scenes(numbers, speed):
    return [make_scene(number, speed) for number in numbers]


def learn(seed, speed, q):
    torch.manual_seed(seed)
    model = NeuralKalmanFilter(MotionModel(q=q))
    test = scenes(range(100, 102), speed)
    before = track(lambda: EMKalmanTracker(model=model), test[:1])
    windows = WindowSampler([detections for _, detections in scenes(range(8), speed)], stride=4)
    history = fit(model, windows, seed=seed)
    assert history[-1]["unexplained"] < 0.25  # with 10% misses and half a false box per frame
    after = track(lambda: EMKalmanTracker(model=model), test)
    sort = track(lambda: Sort(score_threshold=0.5, max_age=5, min_hits=1), test)
    return before, after, sort


@pytest.mark.slow
def test_learns_to_track_without_labels():
    """10% of the detections are missing; perfect association without clutter has an IDF1 of 94.7."""
    before, after, sort = learn(seed=1, speed=6, q=0.02**2)  # 93 to 94, before 1 to 7, SORT 91.4
    assert before < 10
    assert after > 92
    assert after > sort


@pytest.mark.slow
def test_learns_fast_objects_where_overlap_fails():
    before, after, sort = learn(seed=1, speed=15, q=0.1**2)  # 88 to 93, before 1 to 9, SORT 67
    assert before < 10
    assert after > 88
    assert after > sort + 15


def few_windows():
    return WindowSampler([make_scene(0, 6)[1]], stride=10)


@pytest.mark.parametrize("seed", range(4))
def test_no_seed_collapses(seed):
    torch.manual_seed(seed)
    history = fit(NeuralKalmanFilter(), few_windows(), Schedule(min_steps=40), seed=seed)
    assert history[-1]["unexplained"] < 0.3  # raises above 0.7


def test_collapse_error():
    torch.manual_seed(0)
    model = NeuralKalmanFilter()
    with torch.no_grad():
        model.dustbin.fill_(20)
    with pytest.raises(AssociationCollapse, match="of the detections are explained as clutter"):
        fit(model, few_windows(), Schedule(warmup_epochs=0, epochs=5))


def test_same_seed_gives_the_same_model_and_reports():
    models, reports = [], []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(NeuralKalmanFilter())
        history = fit(
            models[-1],
            few_windows(),
            Schedule(epochs=1, warmup_epochs=1, min_steps=0, collapse_above=1.0),
            report=reports.append,
        )
    assert all(torch.equal(a, b) for a, b in zip(*(model.state_dict().values() for model in models), strict=True))
    assert reports[2:] == history == reports[:2]
    assert [(line["stage"], line["epoch"]) for line in history] == [(1, 0), (2, 0)]


def test_square_form_trains_on_constant_count_windows():
    torch.manual_seed(0)
    model = NeuralKalmanFilter(dustbin=False, layout="joint", hidden=5)
    full = make_window(frames=4, batch=1, dtype=torch.float32)

    class Windows(torch.utils.data.Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, index):
            return make_window(frames=4, seed=index, dtype=torch.float32)

    before = EMKalmanLoss()(model(full), full)["loss"].item()
    history = fit(model, Windows(), Schedule(warmup_epochs=4, epochs=4, min_steps=0, batch_size=4))
    assert EMKalmanLoss()(model(full), full)["loss"].item() < 0.2 * before
    assert "dustbin" not in history[0]
    truth = full.gt_ids[:, 0, :, None] == full.gt_ids[:, 1, None, :]
    assert torch.equal(model(full).assoc[:, 1].argmax(1), truth.float().argmax(1))


def test_min_steps_with_few_windows():
    torch.manual_seed(0)
    windows = few_windows()
    assert len(windows) == 12
    history = fit(NeuralKalmanFilter(), windows, Schedule(epochs=0, min_steps=21))
    assert len(history) == 11  # of two steps


def test_calibrated_dustbin_at_the_quantile():
    batch, model = make_window(batch=3, dtype=torch.float32), NeuralKalmanFilter()
    logits = model.network(model.features(batch))
    sure = sorted(
        logits[b, t, i, j].item()
        for b in range(3)
        for t in range(5)
        for i in range(5)
        for j in range(5)
        if logits[b, t, i].argmax() == j and logits[b, t, :, j].argmax() == i
    )
    calibrate_dustbin(model, [batch], 0.5)
    pair = torch.tensor([[sure[len(sure) // 2]]])
    assert sinkhorn(pair, num_iters=500, dustbin=model.dustbin)[0, 0].exp().item() == pytest.approx(0.9, abs=1e-4)


def test_invalid_arguments():
    model = NeuralKalmanFilter(learn_noise=True)
    for objective in ("smoothed", "em"):
        with pytest.raises(ValueError, match=f"expected predictive with learn_noise=True, got {objective}"):
            fit(model, few_windows(), objective=objective)
    with pytest.raises(ValueError, match="windows: expected at least one window"):
        fit(NeuralKalmanFilter(), WindowSampler([]))
