"""A two-layer transformer over tracks and detections, and the cost that it is inside a tracker."""

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
    """Logits of every track and detection to be the same object; "nobody" has the logit 0.

    Tracks and detections are tokens that see each other. The logit is the product of two tokens plus what a small
    network makes of the two boxes.

    Args:
        size: of a token.
        heads: of attention.
    """

    def __init__(self, size: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.row_input, self.column_input = nn.Linear(NUM_FEATURES, size), nn.Linear(NUM_FEATURES, size)
        layer = nn.TransformerEncoderLayer(size, heads, 2 * size, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(size), enable_nested_tensor=False)
        self.query, self.key = nn.Linear(size, size), nn.Linear(size, size)
        self.pair = nn.Sequential(nn.Linear(9, 32), nn.GELU(), nn.Linear(32, 1))
        self.embed = nn.Linear(size, size)  # only for the flow of embeddings

    def forward(self, rows: Tensor, columns: Tensor, row_valid: Tensor, column_valid: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, R, N)``, and tokens ``(B, R + N, size)``.

        Args:
            rows: ``(B, R, F)`` features of tracks.
            columns: ``(B, N, F)`` of detections.
            row_valid: ``(B, R)`` bool, False where padded.
            column_valid: ``(B, N)``.
        """
        tokens = torch.cat([self.row_input(rows), self.column_input(columns)], 1)
        padded = ~torch.cat([row_valid, column_valid], 1)
        padded = padded & ~padded.all(1, keepdim=True)  # a softmax over nothing is not a number
        tokens = self.encoder(tokens, src_key_padding_mask=padded)
        left, right = tokens[:, : rows.shape[1]], tokens[:, rows.shape[1] :]
        content = self.query(left) @ self.key(right).transpose(1, 2) / left.shape[-1] ** 0.5
        return content + self.pair(_pairs(rows, columns)).squeeze(-1), tokens


def _pairs(rows: Tensor, columns: Tensor) -> Tensor:
    """``(B, R, N, 9)``: how a detection lies to the predicted box of a track, in its heights."""
    a, b = rows[:, :, None], columns[:, None]
    size_a, size_b = (a[..., 2:4] - 1.5).exp(), (b[..., 2:4] - 1.5).exp()
    unit = size_a[..., 1:]
    offset, size_a, size_b = (b[..., :2] - a[..., :2]) / 2 / unit, size_a / unit, size_b / unit
    low, high = torch.maximum(-size_a / 2, offset - size_b / 2), torch.minimum(size_a / 2, offset + size_b / 2)
    inside = (high - low).clamp(min=0).prod(-1, keepdim=True)
    iou = inside / (size_a.prod(-1, keepdim=True) + size_b.prod(-1, keepdim=True) - inside)
    distance = offset.square().sum(-1, keepdim=True).add(1e-6).sqrt()
    shape = iou.shape
    told = [a[..., 5:6].expand(shape), a[..., 9:10].expand(shape), b[..., 4:5].expand(shape)]
    return torch.cat([offset.clamp(-5, 5), b[..., 2:4] - a[..., 2:4], iou, distance.log1p(), *told], -1)


def row_softmax(logits: Tensor) -> Tensor:
    """Share ``(R, N)`` of every detection in where a track goes; "nobody" is a place too."""
    return F.pad(logits, (0, 1)).softmax(1)[:, :-1]


FORMS: dict[str, Callable[[Tensor], Tensor]] = {"softmax": row_softmax, "sigmoid": torch.sigmoid}


class LearnedCost:
    """The transformer as a cost for the trackers of ``mot_core.association``; one per video.

    Args:
        model: trained.
        image_size: (height, width).
        form: how logits become an association in [0, 1], a key of ``FORMS``.
    """

    def __init__(self, model: AssociationTransformer, image_size: tuple[int, int], form: str) -> None:
        self.model, self.image_size, self.form, self.motion = model.eval(), image_size, FORMS[form], Motion()

    @torch.inference_mode()
    def __call__(self, tracks: TrackBatch, detections: DetectionBatch) -> Floats:
        """1 minus the association."""
        rows = features(tracks.boxes_xyxy, tracks.scores, tracks.elapsed, self.motion(tracks), self.image_size)
        columns = detection_features(detections.boxes_xyxy, detections.scores, self.image_size)
        one = [torch.from_numpy(rows)[None], torch.from_numpy(columns)[None]]
        logits, _ = self.model(*one, *(torch.ones(part.shape[:2], dtype=torch.bool) for part in one))
        return np.asarray(1 - self.form(logits[0]), np.float64)
