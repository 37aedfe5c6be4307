"""Input of the loss: detections of clips, their assigned objects, and the ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

SHAPES = {
    "boxes_xyxy": "B T N 4",
    "logits": "B T N",
    "valid": "B T N",
    "det_gt": "B T N",
    "gt_boxes_xyxy": "B T M 4",
    "gt_ids": "B T M",
    "image_size": "B 2",
    "embed": "B T N D",
    "assoc_logits": "B T-1 N N",
    "frame_stride": "B",
}
OPTIONAL = ("embed", "assoc_logits", "frame_stride")
PER_FRAME = ("boxes_xyxy", "logits", "det_gt", "gt_boxes_xyxy", "gt_ids")
PADDING = {"det_gt": -1, "gt_ids": -1}
FLOATING = ("boxes_xyxy", "logits", "gt_boxes_xyxy", "embed", "assoc_logits")


@dataclass(frozen=True, eq=False)
class TrackClip:
    """A batch of ``B`` clips of ``T`` frames with at most ``N`` detections and ``M`` objects each.

    Boxes are corners in pixels of the network input, with the same scale in both directions. The loss has gradients at
    ``boxes_xyxy``, ``logits``, ``embed`` and ``assoc_logits``. Entries that are not ``valid`` may hold any value, even
    NaN.

    Attributes:
        boxes_xyxy: Boxes of the detections, ``(B, T, N, 4)``.
        logits: Foreground logits before the sigmoid, ``(B, T, N)``; the largest class logit for several classes.
        valid: Mask ``(B, T, N)`` bool, False where padded.
        det_gt: Identities of the objects that the tracker's own matching assigned, ``(B, T, N)`` int64, -1 for none. At
            most one valid detection per frame and identity.
        gt_boxes_xyxy: Boxes of the objects, ``(B, T, M, 4)``.
        gt_ids: Identities of the objects, ``(B, T, M)`` int64, constant through the clip; -1 where padded.
        image_size: Image height and width in pixels, ``(B, 2)``.
        embed: Embeddings ``(B, T, N, D)``, normalized internally.
        assoc_logits: Association logits of the tracker, ``(B, T - 1, N, N)``: rows = detections of a frame, columns =
            those of the next. Used in place of ``embed``.
        frame_stride: Frames between consecutive frames of the clip, ``(B,)``; None for 1.

    Raises:
        ValueError: If a shape is wrong.
        TypeError: If a tensor has the wrong type.

    >>> box, identity = torch.tensor([[[[0.0, 0.0, 10.0, 20.0]]] * 2]), torch.zeros(1, 2, 1, dtype=torch.int64)
    >>> TrackClip(box, torch.zeros(1, 2, 1), identity == 0, identity, box, identity, torch.tensor([480, 640]))
    Traceback (most recent call last):
    ValueError: image_size must have shape (B, 2) with B = 1, got (2,)
    """

    boxes_xyxy: Tensor
    logits: Tensor
    valid: Tensor
    det_gt: Tensor
    gt_boxes_xyxy: Tensor
    gt_ids: Tensor
    image_size: Tensor
    embed: Tensor | None = None
    assoc_logits: Tensor | None = None
    frame_stride: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = {"2": 2, "4": 4}
        for name, shape in SHAPES.items():
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
            _check_shape(name, value, shape.split(), sizes)
            if name in FLOATING and not value.is_floating_point():
                raise TypeError(f"{name} must be floating, got {value.dtype}")
        if self.valid.dtype != torch.bool:
            raise TypeError(f"valid must be bool, got {self.valid.dtype}")
        for name in ("det_gt", "gt_ids"):  # half precision would merge identities above 2048
            if getattr(self, name).dtype != torch.int64:
                raise TypeError(f"{name} must be int64, got {getattr(self, name).dtype}")

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[Mapping[str, Tensor]],
        image_size: Sequence[float],
        frame_stride: float = 1.0,
        assoc_logits: Sequence[Tensor] | None = None,
    ) -> TrackClip:
        """Create one clip from its frames, padded to the same size.

        Args:
            frames: One dict per frame with ``boxes_xyxy (n, 4)``, ``logits (n,)``, ``det_gt (n,)``,
                ``gt_boxes_xyxy (m, 4)``, ``gt_ids (m,)`` and optionally ``embed (n, D)``; ``n`` and ``m`` may vary.
            image_size: Image height and width in pixels.
            frame_stride: Frames between consecutive frames of the clip.
            assoc_logits: One matrix ``(n, n')`` per pair of consecutive frames.

        Raises:
            ValueError: If there are no frames, a frame lacks a tensor, or the number of ``assoc_logits`` is wrong.

        >>> box, one = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([1])
        >>> full = {"boxes_xyxy": box, "logits": one.float(), "det_gt": one, "gt_boxes_xyxy": box, "gt_ids": one}
        >>> empty = {name: value[:0] for name, value in full.items()}
        >>> TrackClip.from_frames([full, empty], (480, 640)).valid
        tensor([[[ True],
                 [False]]])
        """
        if not frames:
            raise ValueError("frames: expected at least one frame, got none")
        needed = [*PER_FRAME, "embed"] if "embed" in frames[0] else PER_FRAME
        for index, frame in enumerate(frames):
            if missing := [name for name in needed if name not in frame]:
                raise ValueError(f"frame {index}: expected {', '.join(missing)} too, got only {', '.join(frame)}")

        def pad(rows: Sequence[Tensor], fill: float = 0) -> Tensor:
            return pad_sequence([*rows], batch_first=True, padding_value=fill)[None]

        padded = {name: pad([frame[name] for frame in frames], PADDING.get(name, 0)) for name in needed}
        logits = padded["logits"]
        return cls(
            **padded,
            valid=pad([torch.ones_like(frame["det_gt"], dtype=torch.bool) for frame in frames]),
            # Not in half precision, which cannot represent 2049.
            image_size=torch.tensor([[float(side) for side in image_size]], device=logits.device),
            assoc_logits=None if assoc_logits is None else _pad_pairs(assoc_logits, logits)[None],
            frame_stride=torch.tensor([float(frame_stride)], device=logits.device),
        )

    def validate(self) -> TrackClip:
        """Check the values and return the clip.

        Do not call this in every step, because it synchronizes with the GPU.

        Raises:
            ValueError: If a valid box or logit is not finite, a box is inverted, an identity occurs twice in a frame,
                or a detection's identity is not in the ground truth of its frame.

        >>> box, ids = torch.tensor([[[[0.0, 0.0, 10.0, 20.0]] * 2]]), torch.tensor([[[3, 3]]])
        >>> clip = TrackClip(box, torch.zeros(1, 1, 2), ids > 0, ids, box, ids, torch.tensor([[480, 640]]))
        >>> clip.validate()
        Traceback (most recent call last):
        ValueError: clip 0, frame 0: gt_ids has identity 3 twice
        """
        boxes, logits = self.boxes_xyxy.detach(), self.logits.detach()
        good = boxes.isfinite().all(-1) & logits.isfinite() & (boxes[..., 2:] >= boxes[..., :2]).all(-1)
        for clip, frame, row in (self.valid & ~good).nonzero()[:1].tolist():
            raise ValueError(
                f"clip {clip}, frame {frame}: detection {row} must have finite numbers and corners x1 y1 x2 y2, got "
                f"{boxes[clip, frame, row].tolist()} with logit {logits[clip, frame, row].item():g}"
            )
        det_gt = self.det_gt.where(self.valid, -1)
        for name, ids, advice in (
            ("gt_ids", self.gt_ids, ""),
            ("det_gt", det_gt, "; keep the best of the detections and give the others -1"),
        ):
            twice = ((ids[..., None] == ids[..., None, :]).sum(-1) > 1) & (ids >= 0)
            for clip, frame, row in twice.nonzero()[:1].tolist():
                raise ValueError(
                    f"clip {clip}, frame {frame}: {name} has identity {ids[clip, frame, row]} twice{advice}"
                )
        unknown = (det_gt >= 0) & ~(det_gt[..., None] == self.gt_ids[..., None, :]).any(-1)
        for clip, frame, row in unknown.nonzero()[:1].tolist():
            raise ValueError(
                f"clip {clip}, frame {frame}: det_gt has {det_gt[clip, frame, row]}, which is not among gt_ids of this "
                f"frame, {self.gt_ids[clip, frame].tolist()}; det_gt holds identities, not rows"
            )
        return self

    def clean(self) -> TrackClip:
        """Return a copy in one floating type, at least float32, with padded entries set to 0."""
        present = [value for name in FLOATING if (value := getattr(self, name)) is not None]
        dtype = reduce(torch.promote_types, [value.dtype for value in present], torch.float32)

        def zero_padding(value: Tensor | None, mask: Tensor) -> Any:
            if value is None:
                return None
            return value.to(dtype).where(mask.reshape(*mask.shape, *[1] * (value.ndim - mask.ndim)), 0)

        return replace(
            self,
            boxes_xyxy=zero_padding(self.boxes_xyxy, self.valid),
            logits=zero_padding(self.logits, self.valid),
            det_gt=self.det_gt.where(self.valid, -1),
            gt_boxes_xyxy=zero_padding(self.gt_boxes_xyxy, self.gt_ids >= 0),
            embed=zero_padding(self.embed, self.valid),
            assoc_logits=zero_padding(self.assoc_logits, self.pairs()),
        )

    def pairs(self, gap: int = 1) -> Tensor:
        """Return the mask ``(B, T - gap, N, N)`` bool of valid pairs of detections that are ``gap`` frames apart."""
        return self.valid[:, :-gap, :, None] & self.valid[:, gap:, None, :]


def _check_shape(name: str, value: Tensor, expected: list[str], sizes: dict[str, int]) -> None:
    """Check a shape against the sizes of known dimensions, and record new ones."""
    known = {letter: sizes[letter] for letter in expected if letter in sizes and not letter.isdigit()}
    fits = value.ndim == len(expected) and all(
        sizes.setdefault(letter, size) == size for letter, size in zip(expected, value.shape, strict=True)
    )
    if not fits:
        shape = ", ".join(expected) + ("," if len(expected) == 1 else "")
        context = f" with {', '.join(f'{letter} = {size}' for letter, size in known.items())}" if known else ""
        raise ValueError(f"{name} must have shape ({shape}){context}, got {tuple(value.shape)}")
    if "T" in sizes:
        sizes["T-1"] = max(sizes["T"] - 1, 0)


def _pad_pairs(assoc_logits: Sequence[Tensor], logits: Tensor) -> Tensor:
    """Pad one matrix per pair of frames to ``(T - 1, N, N)``, with the sizes of the clip's ``logits``."""
    _, frames, size = logits.shape
    if len(assoc_logits) != frames - 1:
        raise ValueError(f"assoc_logits: expected one per pair of frames, {frames - 1}, got {len(assoc_logits)}")
    padded = [F.pad(one, (0, size - one.shape[1], 0, size - one.shape[0])) for one in assoc_logits]
    return torch.stack(padded) if padded else logits.new_zeros(0, size, size)
