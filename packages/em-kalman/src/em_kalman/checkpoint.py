"""A trained model in a file."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import torch

from em_kalman.model import NeuralKalmanFilter
from em_kalman.motion import MotionModel
from mot_core.io.atomic import atomic_path

FORMAT, VERSION = "em_kalman", 1


def save_model(model: NeuralKalmanFilter, path: str | PathLike[str]) -> None:
    """Write a model, its settings included.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(NeuralKalmanFilter(hidden=7), path)
    >>> load_model(path).network.layers[0].out_features
    7
    """
    settings = model.settings | {"motion": asdict(model.motion)}
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "version": VERSION, "settings": settings, "state_dict": state}, temporary)


def load_model(path: str | PathLike[str]) -> NeuralKalmanFilter:
    """Read a model that :func:`save_model` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is none of ours, or of a newer version.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(NeuralKalmanFilter(MotionModel(q=0.5)), path)
    >>> load_model(path).motion.q
    0.5
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; train a model and write it with em_kalman.save_model")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: expected a model written by em_kalman.save_model, but it cannot be read") from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a model written by em_kalman.save_model, got another checkpoint")
    if saved["version"] != VERSION:
        raise ValueError(
            f"{path}: is of version {saved['version']}, this em_kalman reads {VERSION}; install another one"
        )
    settings = saved["settings"]
    model = NeuralKalmanFilter(**settings | {"motion": MotionModel(**settings["motion"])})
    model.load_state_dict(saved["state_dict"])
    return model.eval()
