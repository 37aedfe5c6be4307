"""Saving and loading of trained models."""

from __future__ import annotations

from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from em_kalman.model import NeuralKalmanFilter
from em_kalman.motion.motion_model import MotionModel
from mot_core.checkpoints import read_checkpoint
from mot_core.io.atomic import save_atomic

FORMAT, VERSION = "em_kalman", 2
PREFIX = "model."  # prefix of the model's weights in a checkpoint of EMKalmanModule


def save_model(model: NeuralKalmanFilter, path: str | PathLike[str]) -> None:
    """Save a model together with its settings.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(NeuralKalmanFilter(hidden=7), path)
    >>> load_model(path).network.layers[0].out_features
    7
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    save_atomic(record(model) | {"state_dict": state}, path)


def record(model: NeuralKalmanFilter) -> dict[str, Any]:
    """Return the settings that rebuild a model, in addition to its weights, as plain numbers and strings.

    >>> record(NeuralKalmanFilter(hidden=7))["settings"]["hidden"]
    7
    """
    settings = model.settings | {"motion": asdict(model.motion)}
    return {"format": FORMAT, "version": VERSION, "settings": settings}


def load_model(path: str | PathLike[str]) -> NeuralKalmanFilter:
    """Load a model written by :func:`save_model` or ``mot fit``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an em_kalman model, has another version, or was saved during warm-up.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(NeuralKalmanFilter(MotionModel(q=0.5)), path)
    >>> load_model(path).motion.q
    0.5
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: file not found; train a model with mot fit --config em_kalman_mot17")
    saved = read_checkpoint(path)
    if FORMAT in saved:  # a checkpoint of EMKalmanModule
        state = saved.get("state_dict", {})
        saved = _fields(saved[FORMAT], {"warm": bool}, path)
        if not saved["warm"]:
            raise ValueError(
                f"{path}: training stopped before warm-up ended, so the dustbin is not calibrated; resume with "
                "--ckpt_path and more max_epochs than warmup_epochs"
            )
        saved = saved | {"state_dict": {name.removeprefix(PREFIX): state[name] for name in state}}
    if saved.get("format") != FORMAT:
        raise ValueError(f"{path}: expected an em_kalman model (save_model, mot fit), got another checkpoint")
    _fields(saved, {"version": int}, path)
    if saved["version"] != VERSION:
        raise ValueError(
            f"{path}: expected format version {VERSION}, got {saved['version']}; train again or install the em_kalman "
            "release that wrote it"
        )
    settings = _fields(saved, {"settings": dict, "state_dict": dict}, path)["settings"]
    try:
        model = NeuralKalmanFilter(**settings | {"motion": MotionModel(**settings["motion"])})
        model.load_state_dict(saved["state_dict"])
    except Exception as error:  # a constructor raises anything for arguments of the wrong type
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(f"{path}: expected the settings and weights of an em_kalman model, got {reason}") from error
    return model.eval()


def _fields(saved: Any, kinds: dict[str, type], path: str | PathLike[str]) -> dict[str, Any]:
    """Return a part of a checkpoint after checking the types of its fields."""
    for name, kind in kinds.items():
        if not isinstance(saved, dict) or not isinstance(saved.get(name), kind):
            got = type(saved.get(name) if isinstance(saved, dict) else saved).__name__
            raise ValueError(f"{path}: {name}: expected {kind.__name__}, got {got}; use a file of save_model")
    return dict(saved)
