"""Checkpoints of trackers and models with flipped, cut or changed content: read as before, or one sentence."""

import copy
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from _helpers.trackers.tracker_cases import make
from em_kalman import NeuralKalmanFilter, load_model, save_model
from fuzz.damage import damage_bytes, one_of, outcome
from mot_core.io.atomic import save_atomic
from mot_core.trackers import Tracker
from mot_core.trackers.checkpoint import describe, read_tracker


def case(rng, folder):
    kind = one_of(rng, ["motip", "motr", "memotr", "model"])
    path = folder / "a.ckpt"
    raw = _files()[kind]
    if rng.random() < 0.5:
        path.write_bytes(damage_bytes(rng, raw))
    else:
        path.write_bytes(raw)
        content = torch.load(path, weights_only=True)
        _change(rng, content)
        save_atomic(content, path)
    model, error = outcome(load_model, path) if kind == "model" else outcome(read_tracker, Tracker, path)
    if error is not None:
        assert "a.ckpt" in str(error), f"no file in the message: {error}"
        return
    state = model.state_dict()
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


@cache
def _files():
    folder = Path(mkdtemp())
    for name in ("motip", "motr", "memotr"):
        tracker = make(name)
        save_atomic({"state_dict": tracker.state_dict(), "tracker": describe(tracker)}, folder / name)
    save_model(NeuralKalmanFilter(), folder / "model")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _change(rng, content):
    """Replace, remove or add one entry somewhere in the nested content."""
    place = content
    while True:
        key = one_of(rng, list(place))
        if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.3:
            break
        place = place[key]
    bad = [None, "x", -1, 0, 10**12, float("nan"), [], {}, torch.zeros(3), torch.full((2, 2), torch.nan), True]
    kind = rng.integers(4)
    if kind == 0:
        del place[key]
    elif kind == 1:
        place["unknown"] = copy.deepcopy(one_of(rng, bad))
    elif isinstance(place[key], torch.Tensor) and place[key].is_floating_point() and place[key].numel() and kind == 2:
        place[key] = place[key].clone()
        place[key].view(-1)[int(rng.integers(place[key].numel()))] = one_of(rng, [float("nan"), float("inf")])
    else:
        place[key] = copy.deepcopy(one_of(rng, bad))
