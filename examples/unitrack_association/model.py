"""Two-layer transformer over tracks and detections, and its use as the cost of a tracker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.association import DetectionBatch, TrackBatch
from unitrack_association.recording import NUM_FEATURES, Motion, detection_features, features
from unitrack_association.videos import Floats


class AssociationTransformer(nn.Module):
    """Predicts the logits of track-detection pairs being the same object; the null slot has the logit 0.

    Tracks and detections are tokens that attend to each other. A logit is the product of two tokens plus the output of
    a small network on both boxes.

    Args:
        size: Token size.
        heads: Number of attention heads.
    """

    def __init__(self, size: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.row_input, self.column_input = nn.Linear(NUM_FEATURES, size), nn.Linear(NUM_FEATURES, size)
        layer = nn.TransformerEncoderLayer(size, heads, 2 * size, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(size), enable_nested_tensor=False)
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.pair = nn.Sequential(nn.Linear(9, 32), nn.GELU(), nn.Linear(32, 1))
        self.embed = nn.Linear(size, size)  # used for flow from embeddings only

    def forward(self, rows: Tensor, columns: Tensor, row_valid: Tensor, column_valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, R, N)`` and tokens ``(B, R + N, size)``.

        Args:
            rows: Features of tracks, ``(B, R, F)``.
            columns: Features of detections, ``(B, N, F)``.
            row_valid: Mask of tracks, ``(B, R)`` bool, False where padded.
            column_valid: Mask of detections, ``(B, N)`` bool, False where padded.
        """
        tokens = torch.cat([self.row_input(rows), self.column_input(columns)], 1)
        padded = ~torch.cat([row_valid, column_valid], 1)
        padded = padded & ~padded.all(1, keepdim=True)  # a softmax over padding alone is NaN
        tokens = self.encoder(tokens, src_key_padding_mask=padded)
        left, right = tokens[:, : rows.shape[1]], tokens[:, rows.shape[1] :]
        content = self.query(left) @ self.key(right).transpose(1, 2) / left.shape[-1] ** 0.5
        return content + self.pair(_pairs(rows, columns)).squeeze(-1), tokens


def _pairs(rows: Tensor, columns: Tensor) -> Tensor:
    """Return pair features ``(B, R, N, 9)``: the detection relative to the predicted box, in units of its height."""
    a, b = rows[:, :, None], columns[:, None]
    size_a, size_b = (a[..., 2:4] - 1.5).exp(), (b[..., 2:4] - 1.5).exp()
    unit = size_a[..., 1:]
    offset, size_a, size_b = (b[..., :2] - a[..., :2]) / 2 / unit, size_a / unit, size_b / unit
    low, high = torch.maximum(-size_a / 2, offset - size_b / 2), torch.minimum(size_a / 2, offset + size_b / 2)
    inside = (high - low).clamp(min=0).prod(-1, keepdim=True)
    iou = inside / (size_a.prod(-1, keepdim=True) + size_b.prod(-1, keepdim=True) - inside)
    distance = offset.square().sum(-1, keepdim=True).add(1e-6).sqrt()
    shape = iou.shape
    confidence = [a[..., 5:6].expand(shape), a[..., 9:10].expand(shape), b[..., 4:5].expand(shape)]
    return torch.cat([offset.clamp(-5, 5), b[..., 2:4] - a[..., 2:4], iou, distance.log1p(), *confidence], -1)


def row_softmax(logits: Tensor) -> Tensor:
    """Return the probability ``(R, N)`` of each detection continuing a track, with a null slot."""
    return F.pad(logits, (0, 1)).softmax(1)[:, :-1]


FORMS: dict[str, Callable[[Tensor], Tensor]] = {"softmax": row_softmax, "sigmoid": torch.sigmoid}


class LearnedCost:
    """Cost for the trackers of ``mot_core.association``; create one per video.

    Args:
        model: Trained transformer.
        image_size: Image height and width in pixels.
        form: Conversion of logits to probabilities, a key of ``FORMS``.
    """

    def __init__(self, model: AssociationTransformer, image_size: tuple[int, int], form: str) -> None:
        self.model, self.image_size, self.form, self.motion = model.eval(), image_size, FORMS[form], Motion()

    @torch.inference_mode()
    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> Floats:
        """Return 1 minus the association probability."""
        rows = features(tracks.boxes_xyxy, tracks.scores, tracks.elapsed, self.motion(tracks), self.image_size)
        columns = detection_features(detections.boxes_xyxy, detections.scores, self.image_size)
        one = [torch.from_numpy(rows)[None], torch.from_numpy(columns)[None]]
        logits, _ = self.model(*one, *(torch.ones(part.shape[:2], dtype=torch.bool) for part in one))
        return np.asarray(1 - self.form(logits[0]), np.float64)
