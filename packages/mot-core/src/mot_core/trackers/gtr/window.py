"""Association of the detections of a frame with the tracks of a sliding window of frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mot_core.boxes import pairwise_iou
from mot_core.nn import association_probabilities

Associate = Callable[[Tensor, Sequence[int], Tensor, slice], Tensor]
"""Function of embeddings ``(N, C)``, counts of the frames, corners in [0, 1] ``(N, 4)`` and the rows of the query boxes
``(Q,)`` that returns association logits ``(Q, N)``."""


@dataclass(frozen=True, eq=False)
class WindowFrame:
    """Detections of a frame of the window.

    Attributes:
        boxes_xyxy: Corners in pixels of the frame, ``(N, 4)``.
        scores: Confidences, ``(N,)``.
        embeddings: Embeddings, ``(N, C)``.
        time: Frame number.
        ids: Identities from 1, ``(N,)`` int64.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    embeddings: Tensor
    time: int
    ids: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class WindowTracks:
    """Tracks that have a detection in the window, in ascending order of identities.

    Attributes:
        ids: Identities from 1, ``(M,)`` int64.
        scores: Score of each track and detection, ``(M, N)``.
        last: Last detection of each track: boxes, scores, embeddings, and the frame number of each in ``times``.
        times: Frame numbers of the last detections, ``(M,)`` int64.
        lengths: Number of detections of each track in the window, ``(M,)`` int64.
    """

    ids: Tensor
    scores: Tensor
    last: WindowFrame
    times: Tensor
    lengths: Tensor


Rescore = Callable[[WindowTracks], Tensor | None]
"""Function that returns scores ``(M, N)`` in place of the summed probabilities, or None to keep them."""


@dataclass
class SlidingWindow:
    """Online association by the probabilities of GTR (Zhou et al., CVPR 2022, section 4.4).

    The score of a track and a detection is the sum over the earlier boxes of the track of their association
    probability, multiplied by ``decay`` for each frame since the one before the current, or the IoU with the last box
    if that is larger. The Hungarian method finds the pairs of highest total score; pairs up to the threshold are
    dropped, and their detections start tracks.

    Args:
        length: Number of frames of the window, including the current one. A track without a detection in it ends.
        threshold: Score up to which a pair is not matched. Higher values start more tracks.
        decay: Factor of the probabilities per frame.
        use_iou: Whether the IoU with the last box of a track can replace the summed probabilities.
        max_distance: Largest distance of the centers of a detection and the last box, in lengths of its diagonal.
        scale_threshold: Whether the threshold is multiplied by the number of boxes of the track in the window.
    """

    length: int = 32
    threshold: float = 0.2
    decay: float = 0.9
    use_iou: bool = True
    max_distance: float = 1.0
    scale_threshold: bool = False
    frames: list[WindowFrame] = field(default_factory=list, init=False)
    counter: int = field(default=0, init=False)
    started: bool = field(default=False, init=False)

    def reset(self) -> None:
        """Drop all tracks; identities start at 1 again."""
        self.frames, self.counter, self.started = [], 0, False

    def update(
        self, frame: WindowFrame, size: Tensor, associate: Associate, rescore: Rescore = lambda tracks: None
    ) -> Tensor:
        """Add a frame and return the identities of its detections, from 1, ``(N,)`` int64.

        Args:
            frame: Detections of the next frame.
            size: Height and width of the frame in pixels, ``(2,)``.
            associate: Association head.
            rescore: Function that may replace the scores of tracks and detections.
        """
        self.frames = [*self.frames, frame][-self.length :]
        number = len(frame.scores)
        ids = torch.zeros(number, dtype=torch.int64, device=frame.scores.device)
        tracks = self._tracks(size, associate)
        if len(tracks.ids) and number:
            given = rescore(tracks)
            scores = tracks.scores if given is None else given
            limit = self.threshold * (tracks.lengths if self.scale_threshold else torch.ones_like(tracks.lengths))
            rows, columns = linear_sum_assignment(scores.cpu().double().numpy(), maximize=True)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                if scores[row, column] > limit[row]:
                    ids[column] = tracks.ids[row]
        born = ids == 0
        new = torch.arange(1, int(born.sum()) + 1, device=ids.device) + self.counter
        ids[born] = new
        self.counter += len(new)
        if not self.started:  # the released code leaves out the identity after those of the first frame
            self.counter += 1
            self.started = True
        self.frames[-1] = replace(frame, ids=ids)
        return ids

    def _tracks(self, size: Tensor, associate: Associate) -> WindowTracks:
        """Return the tracks of the earlier frames and their scores with the detections of the last frame."""
        *earlier, frame = self.frames
        ids = torch.cat([one.ids for one in earlier] or [torch.zeros(0, dtype=torch.int64, device=frame.scores.device)])
        known, index = torch.unique(ids, return_inverse=True)
        own = index == torch.arange(len(known), device=ids.device)[:, None]  # (M, N of the earlier frames)
        if not len(known):
            return WindowTracks(known, frame.scores.new_zeros(0, len(frame.scores)), frame, known, own.sum(1))
        boxes, confidences, embeddings = (
            torch.cat([getattr(one, name) for one in earlier]) for name in ("boxes_xyxy", "scores", "embeddings")
        )
        times = torch.cat([torch.full_like(one.ids, one.time) for one in earlier])
        ages = torch.cat([torch.full_like(one.ids, age) for age, one in enumerate(reversed(earlier))][::-1])
        newest = (own * torch.arange(1, len(ids) + 1, device=ids.device)).argmax(1)
        last = WindowFrame(boxes[newest], confidences[newest], embeddings[newest], frame.time, known)

        counts = [len(one.scores) for one in self.frames]
        corners = torch.cat([boxes, frame.boxes_xyxy]) / size.flip(0).repeat(2)
        features = torch.cat([embeddings, frame.embeddings])
        logits = associate(features, counts, corners.to(features.dtype), slice(len(ids), None))
        probability = association_probabilities(logits, counts)[:, : len(ids)]
        weight = own.to(probability.dtype) * self.decay ** ages.to(probability.dtype)
        total = weight @ probability.T
        return WindowTracks(
            known, self._gate(total, last.boxes_xyxy, frame.boxes_xyxy), last, times[newest], own.sum(1)
        )

    def _gate(self, scores: Tensor, last: Tensor, boxes: Tensor) -> Tensor:
        """Apply the overlap and the distance limit to the scores ``(M, N)``."""
        if self.use_iou:
            scores = torch.maximum(scores, pairwise_iou(last, boxes).to(scores.dtype))
        centers = (boxes[None, :, :2] + boxes[None, :, 2:] - last[:, None, :2] - last[:, None, 2:]) / 2
        near = centers.norm(dim=-1) <= self.max_distance * (last[:, 2:] - last[:, :2]).norm(dim=-1)[:, None]
        return scores.where(near, 0)
