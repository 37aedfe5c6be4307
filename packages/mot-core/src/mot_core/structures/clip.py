"""What trackers and plug-ins hand to each other: plain dataclasses of tensors, padded to one size in a batch.

Letters in shapes: ``B`` clips of a batch, ``T`` frames, ``N`` slots (what a tracker predicts: queries, anchors,
proposals), ``G`` ground-truth objects, ``M`` tracks, ``C`` width of an embedding, ``K`` classes. Boxes are centre and
size in [0, 1] of the network input. Shapes and types are checked when an object is made: a wrong one is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FILLED_IN: Any = None
"""Default of a tensor that is made from the shape of others."""


class _Checked:
    """Checks its fields against ``SHAPES``: a type (float, int64, bool or any) and a letter or number per dimension."""

    SHAPES: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, expected in self.SHAPES.items():
            value = getattr(self, name)
            if value is None:
                continue
            kind, *letters = expected.split()
            what = f"{type(self).__name__}: {name} must be a tensor ({', '.join(letters)}) of type {kind}"
            if not hasattr(value, "is_floating_point"):
                raise TypeError(f"{what}, got {type(value).__name__}")
            right = {"float": value.is_floating_point(), "any": True}.get(kind, str(value.dtype) == f"torch.{kind}")
            if not right or value.ndim != len(letters):
                raise ValueError(f"{what}, got {tuple(value.shape)} of type {str(value.dtype).removeprefix('torch.')}")
            for letter, size in zip(letters, value.shape, strict=True):
                wanted = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
                if size != wanted:
                    raise ValueError(f"{what} with {letter} = {wanted}, got {tuple(value.shape)}")


@dataclass(frozen=True, eq=False)
class FeaturePyramid(_Checked):
    """Feature maps of the images of one call of the detector, fine to coarse.

    Attributes:
        levels: per level ``(B, C, h, w)``.
        masks: per level ``(B, h, w)``, True where the image is padded.
        positions: per level ``(B, C, h, w)`` position encoding, or None.
    """

    levels: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    positions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)  # not frozen: with precision 64-true, Lightning copies batches field by field
class FrameTargets(_Checked):
    """Ground truth of one frame of each clip.

    Attributes:
        boxes_cxcywh: ``(B, G, 4)``.
        labels: ``(B, G)`` int64 class labels.
        ids: ``(B, G)`` int64 identities, the same through the clip; -1 where unknown or padded.
        valid: ``(B, G)`` bool, False where padded.
        extras: whatever else the data has, as ``depth (B, 1, H, W)`` or ``visibility (B, G)``.

    >>> import torch
    >>> FrameTargets(torch.zeros(2, 5, 4), *(torch.zeros(2, 5, dtype=torch.int64),) * 2, torch.ones(2, 4).bool())
    Traceback (most recent call last):
    ValueError: FrameTargets: valid must be a tensor (B, G) of type bool with G = 5, got (2, 4)
    """

    SHAPES: ClassVar[dict[str, str]] = {
        "boxes_cxcywh": "float B G 4",
        "labels": "int64 B G",
        "ids": "int64 B G",
        "valid": "bool B G",
    }

    boxes_cxcywh: Tensor
    labels: Tensor
    ids: Tensor
    valid: Tensor
    extras: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> FrameTargets:
        """The same on another device; Lightning calls it for batches.

        >>> import torch
        >>> ids = torch.zeros(1, 2, dtype=torch.int64)
        >>> FrameTargets(torch.zeros(1, 2, 4), ids, ids, ids.bool()).to("meta").boxes_cxcywh.device
        device(type='meta')
        """

        def move(value: Any) -> Any:
            return value.to(device, non_blocking=non_blocking) if hasattr(value, "to") else value

        tensors = {name: move(getattr(self, name)) for name in self.SHAPES}
        return replace(self, **tensors, extras={name: move(value) for name, value in self.extras.items()})


@dataclass(frozen=True, eq=False)
class FrameOutput(_Checked):
    """What a tracker predicts for one frame of each clip, with the graph of autograd in training.

    One object has at most one slot of each kind (with and without track) in a frame: a dense detector keeps one of
    the anchors it assigned to it.

    Attributes:
        boxes_cxcywh: ``(B, N, 4)``.
        logits: ``(B, N, K)``, for a sigmoid, without a column for the background.
        valid: ``(B, N)`` bool, False where padded.
        image_size: ``(B, 2)`` height and width in pixels of the network input, without padding.
        time: ``(B,)`` int64, the real number of the frame (not 0 to T-1).
        is_track: ``(B, N)`` bool, the slot carries an identity into this frame; False by default.
        track_ids: ``(B, N)`` int64, this identity: of the ground truth in training, of the track in tracking; -1 none.
        gt_index: ``(B, N)`` int64, the object that the tracker assigned to the slot, as a row of the targets; -1 none.
        embeddings: ``(B, N, C)``.
        ref_boxes_cxcywh: ``(B, N, 4)``, the boxes which the last box head refined.
        iou: ``(B, N)`` overlap of the slot with its object, where the tracker has computed it.
        assoc: ``(B, P, N)`` association logits; rows are the ``P`` slots of the previous frame.
        features: the maps behind the predictions.
        aux: predictions of earlier layers, to be supervised like these.
        has_grad: False where the tracker ran this frame without gradient to save memory.

    >>> import torch
    >>> size, time = torch.tensor([[480, 640]]), torch.tensor([1])
    >>> frame = FrameOutput(torch.rand(1, 3, 4), torch.zeros(1, 3, 1), torch.ones(1, 3).bool(), size, time)
    >>> frame.track_ids
    tensor([[-1, -1, -1]])
    """

    SHAPES: ClassVar[dict[str, str]] = {
        "boxes_cxcywh": "float B N 4",
        "logits": "float B N K",
        "valid": "bool B N",
        "image_size": "any B 2",
        "time": "int64 B",
        "is_track": "bool B N",
        "track_ids": "int64 B N",
        "gt_index": "int64 B N",
        "embeddings": "float B N C",
        "ref_boxes_cxcywh": "float B N 4",
        "iou": "float B N",
        "assoc": "float B P N",
    }

    boxes_cxcywh: Tensor
    logits: Tensor
    valid: Tensor
    image_size: Tensor
    time: Tensor
    is_track: Tensor = _FILLED_IN
    track_ids: Tensor = _FILLED_IN
    gt_index: Tensor = _FILLED_IN
    embeddings: Tensor | None = None
    ref_boxes_cxcywh: Tensor | None = None
    iou: Tensor | None = None
    assoc: Tensor | None = None
    features: FeaturePyramid | None = None
    aux: tuple[FrameOutput, ...] = ()
    has_grad: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_track is None:
            object.__setattr__(self, "is_track", self.valid.new_zeros(self.valid.shape))
        for name in ("track_ids", "gt_index"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.valid.long().fill_(-1))


@dataclass(frozen=True, eq=False)
class ClipOutput:
    """All frames of the clips of a batch, in the order of time.

    Attributes:
        frames: ``T`` outputs; the number of slots may differ.
        targets: ``T`` targets; None where there is no ground truth.
    """

    frames: Sequence[FrameOutput]
    targets: Sequence[FrameTargets] | None = None

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("ClipOutput: frames must be at least one, got none")
        if self.targets is not None and len(self.targets) != len(self.frames):
            raise ValueError(
                f"ClipOutput: targets must be one per frame, got {len(self.targets)} for {len(self.frames)} frames"
            )


@dataclass(frozen=True, eq=False)
class TrackState(_Checked):
    """The tracks that a tracker follows, between two frames.

    Attributes:
        ids: ``(B, M)`` int64 identities; -1 where padded.
        valid: ``(B, M)`` bool, False where padded.
        boxes_cxcywh: ``(B, M, 4)``, last seen.
        scores: ``(B, M)``, last seen.
        misses: ``(B, M)`` int64 frames since the track was seen.
        embeddings: ``(B, M, C)`` of the last output.
        queries: ``(B, M, Q)`` with which the next frame is decoded.
        ref_logits: ``(B, M, 4)`` or ``(B, M, 2)`` logits of the boxes (centres) at which the queries look.
        history: ``(B, M, T, C)`` embeddings of earlier frames, of trackers that keep a window of them.
        history_valid: ``(B, M, T)`` bool, the track was seen in this frame.
    """

    SHAPES: ClassVar[dict[str, str]] = {
        "ids": "int64 B M",
        "valid": "bool B M",
        "boxes_cxcywh": "float B M 4",
        "scores": "float B M",
        "misses": "int64 B M",
        "embeddings": "float B M C",
        "queries": "float B M Q",
        "ref_logits": "float B M R",
        "history": "float B M T C",
        "history_valid": "bool B M T",
    }

    ids: Tensor
    valid: Tensor
    boxes_cxcywh: Tensor | None = None
    scores: Tensor | None = None
    misses: Tensor | None = None
    embeddings: Tensor | None = None
    queries: Tensor | None = None
    ref_logits: Tensor | None = None
    history: Tensor | None = None
    history_valid: Tensor | None = None


@dataclass(frozen=True, eq=False)
class TrackerSpec:
    """What a tracker offers to plug-ins, told once before training.

    Attributes:
        name: of the tracker, for messages.
        capabilities: names out of :data:`mot_core.plugins.CAPABILITIES`.
        num_classes: ``K`` of the logits.
        embed_dim: ``C`` of the embeddings.
        feature_channels: channels of each level of the pyramid.
        strides: pixels of the network input per cell of each level.
        decoder_layers: number of decoder layers that call ``on_decoder_layer``.
        box_head: the last box head, ``(..., C)`` to offsets ``(..., 4)`` in logits. The tracker's own, not a copy.
        class_head: the last class head, ``(..., C)`` to logits ``(..., K)``.
        accepts: options of :data:`mot_core.plugins.OPTIONS` and the values, beside the default, that it can serve.
    """

    name: str
    capabilities: frozenset[str] = frozenset()
    num_classes: int = 1
    embed_dim: int | None = None
    feature_channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    decoder_layers: int = 0
    box_head: Callable[[Tensor], Tensor] | None = None
    class_head: Callable[[Tensor], Tensor] | None = None
    accepts: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(eq=False)  # not frozen: with precision 64-true, Lightning copies batches field by field
class ClipBatch(_Checked):
    """``B`` clips of ``T`` frames, images padded at the right and at the bottom to one size.

    All frames of a clip have the same size. Boxes of the targets are centre and size in [0, 1] of the image *without*
    padding (``image_size``).

    Attributes:
        images: ``(B, T, 3, H, W)``, normalised; 0 where padded.
        padding: ``(B, H, W)`` bool, True where padded.
        image_size: ``(B, 2)`` int64 height and width in pixels without padding.
        original_size: ``(B, 2)`` int64 height and width of the frames in their files, in which results are written.
        times: ``(B, T)`` int64, the real numbers of the frames.
        sequences: ``B`` names of sequences.
        targets: ``T`` targets; None where there is no ground truth.

    >>> import torch
    >>> size = torch.tensor([[96, 160]])
    >>> batch = ClipBatch(torch.zeros(1, 2, 3, 96, 160), torch.zeros(1, 96, 160).bool(), size, size,
    ...                   torch.tensor([[7, 8]]), ("crossing",))
    >>> len(batch), batch.num_frames
    (1, 2)
    """

    SHAPES: ClassVar[dict[str, str]] = {
        "images": "float B T 3 H W",
        "padding": "bool B H W",
        "image_size": "int64 B 2",
        "original_size": "int64 B 2",
        "times": "int64 B T",
    }

    images: Tensor
    padding: Tensor
    image_size: Tensor
    original_size: Tensor
    times: Tensor
    sequences: tuple[str, ...]
    targets: tuple[FrameTargets, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_frames(self) -> int:
        """``T``."""
        return self.images.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The same on another device; Lightning calls it.

        >>> import torch
        >>> size = torch.tensor([[96, 160]])
        >>> batch = ClipBatch(torch.zeros(1, 2, 3, 96, 160), torch.zeros(1, 96, 160).bool(), size, size,
        ...                   torch.tensor([[7, 8]]), ("crossing",))
        >>> batch.to("meta").images.device
        device(type='meta')
        """
        tensors: Any = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in self.SHAPES}
        targets = None if self.targets is None else tuple(frame.to(device, non_blocking) for frame in self.targets)
        return replace(self, **tensors, targets=targets)
