"""Filter and smoother against textbook loops, filterpy, and the dense normal density of a window."""

import numpy as np
import pytest
import torch
from filterpy.kalman import KalmanFilter

from mot_core.ops import kalman_filter, observation_loglik, rts_smoother

F64 = torch.float64
LAYOUTS = ("decoupled", "joint")


def problem(frames=6, objects=4, size=2, soft=False, batch=2, seed=0, dtype=F64):
    """Arguments of kalman_filter with as many detections as objects, in shuffled order."""
    rng = torch.Generator().manual_seed(seed)
    initial = 50 * torch.randn(batch, objects, 2, generator=rng, dtype=dtype)
    order = torch.stack([torch.randperm(objects, generator=rng) for _ in range(batch * frames)])
    assoc = torch.eye(objects, dtype=dtype)[order].view(batch, frames, objects, objects).transpose(2, 3)
    if soft:
        shares = torch.rand(batch, frames, objects, objects, generator=rng, dtype=dtype)
        assoc = (assoc + shares) / (assoc + shares).sum(2, keepdim=True)
    drift = torch.randn(batch, 1, objects, 2, generator=rng, dtype=dtype) * torch.arange(frames)[None, :, None, None]
    noise = torch.randn(batch, frames, objects, 2, generator=rng, dtype=dtype)
    points = assoc.transpose(2, 3) @ (initial[:, None] + 3 * drift + noise)
    return {
        "points": points,
        "assoc": assoc,
        "initial": initial,
        "process_noise": torch.tensor([0.3, 0.7][:size], dtype=dtype).expand(batch, objects, size),
        "initial_variance": torch.tensor([4.0, 2.0][:size], dtype=dtype).expand(batch, objects, size),
        "dt": 0.5,
    }


def run(arguments, layout, r=1.7, **options):
    shape = arguments["points"].shape
    size = (shape[0], arguments["initial"].shape[1]) if layout == "decoupled" else shape[:3]
    noise = torch.full(size, r, dtype=arguments["points"].dtype)
    result = kalman_filter(**arguments, measurement_noise=noise, layout=layout, **options)
    return result, noise


def matrices(arguments, b):
    """Transition, process noise and initial covariance of one object, as arrays."""
    size = arguments["process_noise"].shape[-1]
    move = np.eye(size)
    if size == 2:
        move[0, 1] = arguments["dt"]
    return move, np.diag(arguments["process_noise"][b, 0].numpy()), np.diag(arguments["initial_variance"][b, 0].numpy())


def textbook(arguments, b, k, r=1.7, first_update=False):
    """Kalman filter and RTS smoother of one object with its own measurements; moments by frame."""
    move, process, cov = matrices(arguments, b)
    size = len(move)
    look = np.eye(size)[:1]
    mean = np.zeros((size, 2))
    mean[0] = arguments["initial"][b, k]
    filtered, predicted = [], []
    for t in range(arguments["points"].shape[1]):
        if t:
            mean, cov = move @ mean, move @ cov @ move.T + process
        predicted.append((mean, cov))
        n = int(arguments["assoc"][b, t, k].argmax())
        if (t or first_update) and arguments["assoc"][b, t, k, n] > 0:
            z = arguments["points"][b, t, n].numpy()
            gain = cov @ look.T @ np.linalg.inv(look @ cov @ look.T + r)
            mean, cov = mean + gain @ (z[None] - look @ mean), (np.eye(size) - gain @ look) @ cov
        filtered.append((mean, cov))
    smoothed = [filtered[-1]]
    for t in range(len(filtered) - 2, -1, -1):
        gain = filtered[t][1] @ move.T @ np.linalg.inv(predicted[t + 1][1])
        smoothed.append(
            (
                filtered[t][0] + gain @ (smoothed[-1][0] - predicted[t + 1][0]),
                filtered[t][1] + gain @ (smoothed[-1][1] - predicted[t + 1][1]) @ gain.T,
            )
        )
    return filtered, smoothed[::-1]


def block(cov, k, objects, size):
    """Covariance of one object in either layout, ``(T, S, S)``."""
    if cov.ndim == 4:
        return cov[:, k]
    rows = [k + s * objects for s in range(size)]
    return cov[:, rows][:, :, rows]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("first_update", [False, True])
def test_hard_associations_equal_textbook_filters(layout, size, first_update):
    arguments = problem(size=size)
    result, _ = run(arguments, layout, first_update=first_update)
    smoothed = rts_smoother(result)
    for b in range(2):
        for k in range(4):
            for found, wanted in zip((result, smoothed), textbook(arguments, b, k, 1.7, first_update), strict=True):
                means, covs = (torch.tensor(np.stack(moments)) for moments in zip(*wanted, strict=True))
                torch.testing.assert_close(found.mean[b, :, k], means, rtol=0, atol=1e-9)
                torch.testing.assert_close(block(found.cov[b], k, 4, size), covs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_filterpy(layout):
    arguments = problem(frames=8)
    result, _ = run(arguments, layout)
    smoothed = rts_smoother(result)
    move, process, cov = matrices(arguments, 0)
    for k in range(4):
        theirs = KalmanFilter(dim_x=4, dim_z=2)  # x, y, then their velocities
        pair = np.eye(2)
        theirs.F, theirs.Q, theirs.P = (np.kron(part, pair) for part in (move, process, cov))
        theirs.H, theirs.R = np.eye(4)[:2], 1.7 * pair
        theirs.x = np.concatenate([arguments["initial"][0, k].numpy(), np.zeros(2)])
        means, covs = [theirs.x], [theirs.P]
        for t in range(1, 8):
            theirs.predict()
            theirs.update(arguments["points"][0, t, arguments["assoc"][0, t, k].argmax()].numpy())
            means.append(theirs.x)
            covs.append(theirs.P)
        np.testing.assert_allclose(result.mean[0, :, k].reshape(8, 4), means, atol=1e-9)
        their_means, their_covs, *_ = theirs.rts_smoother(np.stack(means), np.stack(covs))
        np.testing.assert_allclose(smoothed.mean[0, :, k].reshape(8, 4), their_means, atol=1e-9)
        wanted = their_covs[:, ::2, ::2]  # x and its velocity
        np.testing.assert_allclose(block(smoothed.cov[0], k, 4, 2), wanted, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2])
def test_joint_likelihood_equals_normal_density_of_window(size):
    arguments = problem(frames=5, objects=3, size=size, soft=True, batch=1)
    result, noise = run(arguments, "joint", first_update=True)
    points, assoc = arguments["points"], arguments["assoc"]
    found = observation_loglik(points, assoc, result.predicted_mean, result.predicted_cov, noise).sum()
    # All states of all frames are one normal vector; the detections are a linear map of it.
    move, process, cov = (np.kron(part, np.eye(3)) for part in matrices(arguments, 0))
    states = 3 * size
    marginal = [cov]
    for _ in range(4):
        marginal.append(move @ marginal[-1] @ move.T + process)
    look = [np.concatenate([assoc[0, t].T.numpy(), np.zeros((3, states - 3))], 1) for t in range(5)]
    power = [np.linalg.matrix_power(move, t) for t in range(5)]
    total = np.zeros((15, 15))
    for s in range(5):
        for t in range(s, 5):
            part = look[t] @ power[t - s] @ marginal[s] @ look[s].T
            total[3 * t : 3 * t + 3, 3 * s : 3 * s + 3] = part
            total[3 * s : 3 * s + 3, 3 * t : 3 * t + 3] = part.T
    total += 1.7 * np.eye(15)
    wanted = 0.0
    for c in range(2):
        mean = np.concatenate([look[t][:, :3] @ arguments["initial"][0, :, c].numpy() for t in range(5)])
        normal = torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(total))
        wanted += normal.log_prob(points[0, ..., c].flatten())
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


def test_layouts_have_equal_likelihood_for_hard_associations():
    arguments = problem()
    values = []
    for layout in LAYOUTS:
        result, noise = run(arguments, layout)
        moments = result.predicted_mean, result.predicted_cov
        values.append(observation_loglik(arguments["points"], arguments["assoc"], *moments, noise))
    torch.testing.assert_close(*values, rtol=1e-11, atol=0)


def test_shares_are_likelihood_exponents():
    """Two detections with shares p and q of one object equal two updates with noise r / p and r / q."""
    one = torch.ones(1, 1, dtype=F64)
    points = torch.tensor([[[[0.0], [0.0]], [[2.0], [-1.0]]]], dtype=F64)
    assoc = torch.tensor([0.7, 0.2], dtype=F64).expand(1, 2, 1, 2)
    result = kalman_filter(
        points,
        assoc,
        torch.zeros(1, 1, 1, dtype=F64),
        process_noise=torch.full((1, 1, 1), 0.5, dtype=F64),
        measurement_noise=one * 1.5,
        initial_variance=one[..., None] * 2,
    )
    precision = 1 / 2.5 + 0.7 / 1.5 + 0.2 / 1.5
    torch.testing.assert_close(result.cov[0, 1].item(), 1 / precision)
    torch.testing.assert_close(result.mean[0, 1].item(), (0.7 * 2 - 0.2) / 1.5 / precision)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_smoothing_never_adds_variance(layout):
    result, _ = run(problem(soft=True, frames=9), layout)
    smoothed = rts_smoother(result)
    gain = torch.linalg.eigvalsh(result.cov - smoothed.cov)
    assert gain.min() > -1e-8
    assert gain[:, 0].max() > 0.1
    torch.testing.assert_close(smoothed.cov[:, -1], result.cov[:, -1])
    torch.testing.assert_close(smoothed.mean[:, -1], result.mean[:, -1])


@pytest.mark.parametrize("known", ["velocity", "position", "both"])
def test_zero_variances_stay_zero(known):
    """Without variance of the velocity, of the position, or of both; the smoother must not divide by zero."""
    arguments = problem(batch=1, dtype=F64)
    position, velocity = float(known == "velocity"), float(known == "position")
    variances = [
        torch.tensor([4 * position, velocity], dtype=F64, requires_grad=True),
        torch.tensor([position / 3, velocity / 3]),
    ]
    noise = {"initial_variance": variances[0], "process_noise": variances[1]}
    given = {name: value.to(F64).expand(1, 4, 2) for name, value in noise.items()}
    result, _ = run(arguments | given, "decoupled")
    smoothed = rts_smoother(result)
    if known != "position":  # without velocity variance, the model equals a random walk
        alone = {name: value[..., :1] for name, value in given.items()}
        still, _ = run(arguments | alone, "decoupled")
        wanted = rts_smoother(still)
        torch.testing.assert_close(smoothed.mean[..., :1, :], wanted.mean)
        torch.testing.assert_close(smoothed.cov[..., :1, :1], wanted.cov)
        assert (smoothed.mean[..., 1, :] == 0).all()
    else:
        torch.testing.assert_close(smoothed.mean[:, 0, :, 0], arguments["initial"])
    (smoothed.mean.sum() + smoothed.cov.sum()).backward()
    assert variances[0].grad.isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_covariances_stay_positive(layout):
    arguments = problem(frames=100, objects=12, soft=True, batch=1, dtype=torch.float32)
    arguments["initial_variance"] = arguments["initial_variance"] * 2500
    result, _ = run(arguments, layout, r=1.0)
    assert torch.equal(result.cov, result.cov.transpose(-1, -2))
    assert torch.linalg.eigvalsh(result.cov.double()).min() > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_over_ten_thousand_frames(layout):
    arguments = problem(frames=10_000, objects=2, batch=1, dtype=torch.float32)
    arguments["points"] = arguments["points"] % 1000
    found, _ = run(arguments, layout)
    assert torch.linalg.eigvalsh(found.cov).min() > 0
    end = {name: arguments[name][:, -300:].double() for name in ("points", "assoc")}
    rest = {name: arguments[name].double() for name in ("initial", "process_noise", "initial_variance")}
    wanted, _ = run(end | rest | {"dt": 0.5}, layout)  # the start has no effect by then
    torch.testing.assert_close(found.cov[:, -1].double(), wanted.cov[:, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean[:, -1].double(), wanted.mean[:, -1], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("soft", [False, True])
def test_masked_detections_have_no_effect(layout, soft):
    arguments = problem(soft=soft)
    kept = torch.tensor([True, True, False, True])
    mask = kept.expand(2, 6, 4)
    padded, noise = run(arguments, layout, mask=mask)
    fewer = arguments | {"points": arguments["points"][:, :, kept], "assoc": arguments["assoc"][..., kept]}
    dropped, fewer_noise = run(fewer, layout)
    for name in ("mean", "cov", "predicted_mean", "predicted_cov"):
        torch.testing.assert_close(getattr(padded, name), getattr(dropped, name), rtol=0, atol=1e-12)
    found = observation_loglik(arguments["points"], arguments["assoc"], padded.mean, padded.cov, noise, mask)
    wanted = observation_loglik(fewer["points"], fewer["assoc"], dropped.mean, dropped.cov, fewer_noise)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_values_have_no_effect(layout):
    arguments = problem()
    mask = torch.ones(2, 6, 4, dtype=torch.bool)
    mask[:, 2] = False  # a frame without detections
    arguments["points"] = arguments["points"].masked_fill(~mask[..., None], float("nan"))
    arguments["points"].requires_grad_()
    result, noise = run(arguments, layout, mask=mask)
    torch.testing.assert_close(result.mean[:, 2], result.predicted_mean[:, 2], rtol=0, atol=0)
    torch.testing.assert_close(result.cov[:, 2], result.predicted_cov[:, 2])
    smoothed = rts_smoother(result)
    loglik = observation_loglik(arguments["points"], arguments["assoc"], smoothed.mean, smoothed.cov, noise, mask)
    torch.testing.assert_close(loglik[:, 2], torch.zeros(2, dtype=F64))
    loglik.sum().backward()
    assert arguments["points"].grad.isfinite().all()
    assert arguments["points"].grad[:, 2].abs().sum() == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_permutation_equivariance(layout):
    arguments = problem(soft=True)
    rows, columns = torch.randperm(4), torch.randperm(4)
    result, _ = run(arguments, layout)
    moved = arguments | {
        "points": arguments["points"][:, :, columns],
        "assoc": arguments["assoc"][:, :, rows][..., columns],
        "initial": arguments["initial"][:, rows],
    }
    torch.testing.assert_close(run(moved, layout)[0].mean, result.mean[:, :, rows])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("objects", "batch"), [(0, 2), (1, 2), (3, 0)])
def test_small_and_empty_inputs(layout, objects, batch):
    arguments = problem(objects=3, batch=2)
    arguments = {
        "points": arguments["points"][:batch, :, :objects],
        "assoc": arguments["assoc"][:batch, :, :objects, :objects],
        "initial": arguments["initial"][:batch, :objects],
        "process_noise": arguments["process_noise"][:batch, :objects],
        "initial_variance": arguments["initial_variance"][:batch, :objects],
    }
    result, noise = run(arguments, layout)
    assert rts_smoother(result).mean.shape == (batch, 6, objects, 2, 2)
    loglik = observation_loglik(arguments["points"], arguments["assoc"], result.mean, result.cov, noise)
    assert loglik.shape == (batch, 6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck(layout):
    arguments = problem(frames=3, objects=2, soft=True, batch=1)
    soft = (arguments["assoc"] + 0.1).log().requires_grad_()
    logs = torch.tensor([-0.5, 0.3, -1.0, 0.7], dtype=F64, requires_grad=True)

    def value(logits, logs):
        shares = logits.softmax(2)
        noise = logs[0].exp().expand((1, 2) if layout == "decoupled" else (1, 3, 2))
        result = kalman_filter(
            arguments["points"],
            shares,
            arguments["initial"],
            process_noise=logs[1:3].exp().expand(1, 2, 2),
            measurement_noise=noise,
            initial_variance=logs[3].exp().expand(1, 2, 2),
            layout=layout,
        )
        smoothed = rts_smoother(result)
        return (
            observation_loglik(arguments["points"], shares, result.predicted_mean, result.predicted_cov, noise),
            observation_loglik(arguments["points"], shares, smoothed.mean, smoothed.cov, noise),
        )

    assert torch.autograd.gradcheck(value, (soft, logs))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_and_autocast_are_computed_in_float32(layout):
    arguments = problem(soft=True, dtype=torch.float32)
    wanted = run(arguments, layout)[0].mean
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(run(arguments, layout)[0].mean, wanted, rtol=0, atol=0)
    half = {name: value.bfloat16() if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}
    assert run(half, layout)[0].mean.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "loose"}, "layout must be decoupled or joint"),
        ({"points": torch.zeros(2, 4)}, r"points must have shape \(B, T, N, d\)"),
        ({"assoc": torch.zeros(2, 6, 4, 5)}, "assoc must have shape"),
        ({"process_noise": torch.ones(2, 4, 3)}, "process_noise must have shape"),
        ({"initial": torch.zeros(2, 3, 2)}, r"initial must have shape \(2, 4, 2\), got \(2, 3, 2\)"),
        ({"mask": torch.ones(2, 6, dtype=torch.bool)}, "mask must have shape"),
        ({"measurement_noise": torch.ones(2, 6, 4)}, r"measurement_noise must have shape \(2, 4\)"),
    ],
)
def test_invalid_arguments_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        kalman_filter(**problem() | {"measurement_noise": torch.ones(2, 4)} | changes)


def test_invalid_covariance_is_rejected():
    arguments = problem()
    arguments["initial_variance"] = -10 * arguments["initial_variance"]
    with pytest.raises(ValueError, match="expected a positive definite matrix"):
        run(arguments, "joint")
