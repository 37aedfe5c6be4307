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
    "video": "B",
}
OPTIONAL = ("embed", "assoc_logits", "frame_stride", "video")
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
        video: Number of the video of each clip, ``(B,)`` int64: objects in clips of different videos are different.
            None if all clips are of different videos.

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
    video: Tensor | None = None

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
        for name in ("det_gt", "gt_ids", "video"):  # half precision would merge identities above 2048
            value = getattr(self, name)
            if value is not None and value.dtype != torch.int64:
                raise TypeError(f"{name} must be int64, got {value.dtype}")

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
        """Check the values and return the clip; the loss does so in every step that is not compiled.

        Raises:
            ValueError: If a number of a valid detection or of an object is not finite, a box is inverted, an image size
                or stride is not positive, an identity occurs twice in a frame, or a detection's identity is not in the
                ground truth of its frame.

        >>> box, ids = torch.tensor([[[[0.0, 0.0, 10.0, 20.0]] * 2]]), torch.tensor([[[3, 3]]])
        >>> clip = TrackClip(box, torch.zeros(1, 1, 2), ids > 0, ids, box, ids, torch.tensor([[480, 640]]))
        >>> clip.validate()
        Traceback (most recent call last):
        ValueError: gt_ids: expected each identity once per frame, got 3 twice in frame 0 of clip 0; remove one
        """
        faults = self._faults()
        # One question to the GPU for all checks.
        if not torch.stack([mask.any() for mask in faults.values()]).any():
            return self
        name, mask = next((name, mask) for name, mask in faults.items() if mask.any())
        raise ValueError(self._sentence(name, mask.nonzero()[0].tolist()))

    @torch.no_grad()
    def _faults(self) -> dict[str, Tensor]:
        """Return masks of invalid entries, with the clip as first and the frame as second dimension."""
        det_gt, known = self.det_gt.where(self.valid, -1), self.gt_ids >= 0
        ordered = self.gt_ids.sort(-1).values
        at = torch.searchsorted(ordered, det_gt.contiguous()).clamp(max=max(ordered.shape[-1] - 1, 0))
        found = ordered.gather(-1, at) == det_gt if ordered.shape[-1] else torch.zeros_like(self.valid)
        faults = {
            "boxes_xyxy": self.valid & ~_proper(self.boxes_xyxy),
            "logits": self.valid & ~self.logits.isfinite(),
            "gt_boxes_xyxy": known & ~_proper(self.gt_boxes_xyxy),
            "image_size": ~(self.image_size > 0) | self.image_size.isinf(),
            "gt_ids": _repeated(self.gt_ids),
            "det_gt": _repeated(det_gt),
            "unknown det_gt": (det_gt >= 0) & ~found,
        }
        if self.embed is not None:
            faults["embed"] = self.valid & ~self.embed.isfinite().all(-1)
        if self.assoc_logits is not None:
            faults["assoc_logits"] = self.pairs() & ~self.assoc_logits.isfinite()
        if self.frame_stride is not None:
            faults["frame_stride"] = ~(self.frame_stride > 0) | self.frame_stride.isinf()
        return faults

    def _sentence(self, name: str, place: list[int]) -> str:
        """Return the message for the invalid entry ``place`` of a mask of :meth:`_faults`."""
        clip, frame = place[0], place[1] if len(place) > 1 else 0
        where = f"in frame {frame} of clip {clip}"
        if name == "image_size":
            size = self.image_size[clip].tolist()
            return f"image_size: expected height and width in pixels, got {size} in clip {clip}; pass positive numbers"
        if name == "frame_stride":
            stride = self.frame_stride[clip].item() if self.frame_stride is not None else 1
            return f"frame_stride: expected a positive number of frames, got {stride:g} in clip {clip}; pass 1 or more"
        if name == "unknown det_gt":
            return (
                f"det_gt: expected identities of gt_ids of the same frame, {self.gt_ids[clip, frame].tolist()}, got "
                f"{self.det_gt[clip, frame, place[2]]} {where}; det_gt holds identities, not rows"
            )
        if name in ("gt_ids", "det_gt"):
            ids = self.gt_ids if name == "gt_ids" else self.det_gt.where(self.valid, -1)
            listed = ids[clip, frame].tolist()
            twice = next(one for one in listed if one >= 0 and listed.count(one) > 1)
            advice = "remove one" if name == "gt_ids" else "keep the best detection, give the others -1"
            return f"{name}: expected each identity once per frame, got {twice} twice {where}; {advice}"
        value = getattr(self, name)[tuple(place)].tolist()
        wanted = "finite corners x1 y1 x2 y2 with x1 <= x2 and y1 <= y2" if "boxes" in name else "finite numbers"
        advice = "correct the ground truth" if name == "gt_boxes_xyxy" else "the tracker may have diverged"
        return f"{name}: expected {wanted}, got {str(value)[:80]} at row {place[2]} {where}; {advice}"

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


def _proper(boxes_xyxy: Tensor) -> Tensor:
    """Return the mask of boxes with finite, ordered corners."""
    return boxes_xyxy.isfinite().all(-1) & (boxes_xyxy[..., 2:] >= boxes_xyxy[..., :2]).all(-1)


def _repeated(ids: Tensor) -> Tensor:
    """Return the mask ``(B, T)`` of frames with an identity that occurs twice."""
    ordered = ids.sort(-1).values
    return ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any(-1)


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
