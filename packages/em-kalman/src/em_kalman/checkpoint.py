"""A trained model in a file."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from em_kalman.model import NeuralKalmanFilter
from em_kalman.motion.motion_model import MotionModel
from mot_core.io.atomic import atomic_path

FORMAT, VERSION = "em_kalman", 2
PREFIX = "model."  # of the weights in a checkpoint of EMKalmanModule


def save_model(model: NeuralKalmanFilter, path: str | PathLike[str]) -> None:
    """Write a model, its settings included.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(NeuralKalmanFilter(hidden=7), path)
    >>> load_model(path).network.layers[0].out_features
    7
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        torch.save(record(model) | {"state_dict": state}, temporary)


def record(model: NeuralKalmanFilter) -> dict[str, Any]:
    """What a file needs to build the model again, beside its weights: numbers and strings.

    >>> record(NeuralKalmanFilter(hidden=7))["settings"]["hidden"]
    7
    """
    settings = model.settings | {"motion": asdict(model.motion)}
    return {"format": FORMAT, "version": VERSION, "settings": settings}


def load_model(path: str | PathLike[str]) -> NeuralKalmanFilter:
    """Read a model that :func:`save_model` or ``mot fit`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is none of ours, of another version, or of the warm-up of a training.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> save_model(NeuralKalmanFilter(MotionModel(q=0.5)), path)
    >>> load_model(path).motion.q
    0.5
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; train a model with mot fit --config em_kalman_mot17")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: expected a model of em_kalman (save_model, mot fit), it cannot be read") from error
    if isinstance(saved, dict) and FORMAT in saved:  # a checkpoint of EMKalmanModule
        state = saved["state_dict"]
        if not saved[FORMAT]["warm"]:
            raise ValueError(
                f"{path}: its training did not come to the end of the warm-up, before which everything has a partner; "
                "let it go on with --ckpt_path and more max_epochs than warmup_epochs"
            )
        saved = saved[FORMAT] | {"state_dict": {name.removeprefix(PREFIX): state[name] for name in state}}
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a model of em_kalman (save_model, mot fit), got another checkpoint")
    if saved["version"] != VERSION:
        raise ValueError(
            f"{path}: is of version {saved['version']}, this em_kalman reads {VERSION}: train again, or install the "
            "one that wrote it"
        )
    settings = saved["settings"]
    model = NeuralKalmanFilter(**settings | {"motion": MotionModel(**settings["motion"])})
    model.load_state_dict(saved["state_dict"])
    return model.eval()
