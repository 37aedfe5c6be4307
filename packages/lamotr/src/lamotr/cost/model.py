"""SGLA with encoders of boxes and motion, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lamotr.cost.features import DETECTION_FEATURES, TRACK_FEATURES, AssociationFeatures
from lamotr.modules.settings import SGLASettings
from lamotr.modules.sgla import SGLA
from mot_core.checkpoints import read_checkpoint
from mot_core.io.atomic import save_atomic
from mot_core.nn import MLP

FORMAT, VERSION = "lamotr_cost", 1
SMALL = SGLASettings(embed_dim=64, num_heads=4, num_layers=2, ffn_dim=128, difference="scaled", prior=0.05)
"""Settings that associate a frame in milliseconds on a CPU."""


class BoxAssociation(nn.Module):
    """Association of tracks and detections by boxes and motion: SGLA on encoded features.

    Tracks are the tracklets of SGLA, at their predicted boxes, and detections are the objects.

    Args:
        settings: Sizes and variant of SGLA; two layers of 64 channels by default.

    >>> model = BoxAssociation()
    >>> sum(parameter.numel() for parameter in model.parameters()) < 150_000
    True
    """

    def __init__(self, settings: SGLASettings = SMALL) -> None:
        super().__init__()
        channels = settings.embed_dim
        self.detections = MLP(DETECTION_FEATURES, channels, channels, 2)
        self.tracks = MLP(TRACK_FEATURES, channels, channels, 2)
        self.sgla = SGLA(settings)

    def forward(self, frames: Sequence[AssociationFeatures]) -> tuple[Tensor, Tensor]:
        """Score all pairs of every frame.

        Args:
            frames: Features of the frames of a batch, with any numbers of detections and tracks.

        Returns:
            Logits of shape ``(B, M, K)`` for detections and tracks, and the mask of real pairs of the same shape.
        """
        device = next(self.parameters()).device
        detections, obj_pad = _stack([frame.detections for frame in frames], device)
        tracks, tck_pad = _stack([frame.tracks for frame in frames], device)
        obj_boxes, _ = _stack([frame.detection_boxes_cxcywh for frame in frames], device)
        tck_boxes, _ = _stack([frame.track_boxes_cxcywh for frame in frames], device)
        output = self.sgla(self.detections(detections), self.tracks(tracks), obj_boxes, tck_boxes, obj_pad, tck_pad)
        return output.score_logits, ~(obj_pad[:, :, None] | tck_pad[:, None, :])


def save_cost(model: BoxAssociation, path: str | PathLike[str], trained_on: str = "") -> None:
    """Save a network with its settings.

    Args:
        model: Trained network.
        path: File to write.
        trained_on: Free-text description of the training data.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "cost.pt"
    >>> save_cost(BoxAssociation(), path)
    >>> load_cost(path).sgla.settings.embed_dim
    64
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    settings = asdict(model.sgla.settings)
    content = {"format": FORMAT, "version": VERSION, "settings": settings, "trained_on": trained_on}
    save_atomic(content | {"state_dict": state}, path)


def load_cost(path: str | PathLike[str]) -> BoxAssociation:
    """Load a network written by :func:`save_cost` or ``mot lamotr learn-cost``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not such a network or has another version.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "cost.pt"
    >>> save_cost(BoxAssociation(SGLASettings(embed_dim=16, num_layers=1)), path)
    >>> len(load_cost(path).sgla.layers)
    1
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: file not found; train a cost with mot lamotr learn-cost")
    saved = read_checkpoint(path)
    if saved.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a file of mot lamotr learn-cost, got another checkpoint")
    if saved.get("version") != VERSION:
        raise ValueError(
            f"{path}: expected format version {VERSION}, got {saved.get('version')}; train again or install the lamotr "
            "release that wrote it"
        )
    try:
        model = BoxAssociation(SGLASettings(**saved["settings"]))
        model.load_state_dict(saved["state_dict"])
    except Exception as error:  # a constructor raises anything for arguments of the wrong type
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(f"{path}: expected the settings and weights of a lamotr cost, got {reason}") from error
    return model.eval()


def _stack(parts: Sequence[object], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad arrays ``(N, F)`` to one size; also return the mask of the padding."""
    tensors = [torch.as_tensor(part, device=device) for part in parts]
    real = pad_sequence([torch.ones(len(one), dtype=torch.bool, device=device) for one in tensors], batch_first=True)
    return pad_sequence(tensors, batch_first=True), ~real
