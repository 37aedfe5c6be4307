"""Data exchanged by trackers and plug-ins: plain dataclasses of tensors, padded to one size within a batch.

Letters in shapes: ``B`` clips of a batch, ``T`` frames, ``N`` slots (predictions of a tracker: queries, anchors,
proposals), ``G`` ground-truth objects, ``M`` tracks, ``C`` embedding channels, ``K`` classes. Boxes are center and size
in [0, 1] of the network input. Shapes and dtypes are validated on construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FILLED_IN: Any = None
"""Default of tensors that are created with the shape of others."""


class _Checked:
    """Validate fields against ``SHAPES``: a dtype (float, int64, bool or any) and a letter or number per dimension."""

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
    """Feature maps of the images of one detector call, fine to coarse.

    Attributes:
        levels: Feature maps of shape ``(B, C, h, w)`` per level.
        masks: Padding masks of shape ``(B, h, w)`` per level, True where the image is padded.
        positions: Position encodings of shape ``(B, C, h, w)`` per level, or None.
    """

    levels: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    positions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)  # not frozen: with precision 64-true, Lightning copies batches field by field
class FrameTargets(_Checked):
    """Ground truth of one frame of each clip.

    Attributes:
        boxes_cxcywh: Boxes of shape ``(B, G, 4)``.
        labels: Class labels of shape ``(B, G)``, int64.
        ids: Identities of shape ``(B, G)``, int64, constant within the clip; -1 where unknown or padded.
        valid: Boolean mask of shape ``(B, G)``, False where padded.
        extras: Additional data, such as ``depth (B, 1, H, W)`` or ``visibility (B, G)``.

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
        """Return a copy on another device; called by Lightning.

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
    """Predictions of a tracker for one frame of each clip, with the autograd graph in training.

    Each object has at most one slot of each kind (track or detection) per frame: a dense detector keeps one of its
    assigned anchors.

    Attributes:
        boxes_cxcywh: Boxes of shape ``(B, N, 4)``.
        logits: Class logits (sigmoid) of shape ``(B, N, K)``, without a background column.
        valid: Boolean mask of shape ``(B, N)``, False where padded.
        image_size: Height and width of the network input in pixels, without padding, of shape ``(B, 2)``.
        time: Real frame number (not 0 to T-1) of shape ``(B,)``, int64.
        is_track: Boolean mask of shape ``(B, N)``, True if the slot carries an identity into this frame; False by
            default.
        track_ids: This identity, of shape ``(B, N)``, int64: from the ground truth in training, from the track in
            tracking; -1 for none.
        gt_index: Row in the targets of the object assigned to the slot by the tracker, of shape ``(B, N)``, int64; -1
            for none.
        embeddings: Embeddings of shape ``(B, N, C)``.
        ref_boxes_cxcywh: Boxes refined by the last box head, of shape ``(B, N, 4)``.
        iou: IoU of each slot with its object, of shape ``(B, N)``, if the tracker has computed it.
        assoc: Association logits of shape ``(B, P, N)``; rows are the ``P`` slots of the previous frame.
        features: Feature maps behind the predictions.
        aux: Predictions of earlier layers, supervised like these.
        has_grad: False if the tracker ran this frame without gradient to save memory.

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
    """All frames of the clips of a batch, in order of time.

    Attributes:
        frames: ``T`` outputs; the number of slots may differ.
        targets: ``T`` targets, or None without ground truth.
        sequences: ``B`` sequence names, or None where unknown; two clips of one sequence may show the same objects.
    """

    frames: Sequence[FrameOutput]
    targets: Sequence[FrameTargets] | None = None
    sequences: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("ClipOutput: expected at least one frame, got none")
        if self.targets is not None and len(self.targets) != len(self.frames):
            raise ValueError(
                f"ClipOutput: targets must be one per frame, got {len(self.targets)} for {len(self.frames)} frames"
            )

    @property
    def sequence_numbers(self) -> list[int] | None:
        """A number below 2^32 for each of the ``B`` sequence names, the same in all processes; None where unknown.

        >>> import torch
        >>> empty = torch.zeros(2, 0)
        >>> slots = torch.zeros(2, 0, 4), torch.zeros(2, 0, 1), empty.bool(), torch.ones(2, 2), torch.ones(2).long()
        >>> ClipOutput([FrameOutput(*slots)], sequences=["MOT17-02", "MOT17-04"]).sequence_numbers
        [610247882, 3443261951]
        """
        return None if self.sequences is None else [crc32(name.encode()) for name in self.sequences]


@dataclass(frozen=True, eq=False)
class TrackState(_Checked):
    """Tracks of a tracker between two frames.

    Attributes:
        ids: Identities of shape ``(B, M)``, int64; -1 where padded.
        valid: Boolean mask of shape ``(B, M)``, False where padded.
        boxes_cxcywh: Last boxes of shape ``(B, M, 4)``.
        scores: Last scores of shape ``(B, M)``.
        misses: Number of frames since the track was seen, of shape ``(B, M)``, int64.
        embeddings: Embeddings of the last output, of shape ``(B, M, C)``.
        memory: Further state that the tracker carries from frame to frame, of shape ``(B, M, D)``.
        queries: Queries for the next frame, of shape ``(B, M, Q)``.
        ref_logits: Logits of the reference boxes ``(B, M, 4)`` or centers ``(B, M, 2)`` of the queries.
        history: Embeddings of earlier frames, of shape ``(B, M, T, C)``, for trackers with a window of them.
        history_valid: Boolean mask of shape ``(B, M, T)``, True where the track was seen.
    """

    SHAPES: ClassVar[dict[str, str]] = {
        "ids": "int64 B M",
        "valid": "bool B M",
        "boxes_cxcywh": "float B M 4",
        "scores": "float B M",
        "misses": "int64 B M",
        "embeddings": "float B M C",
        "memory": "float B M D",
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
    memory: Tensor | None = None
    history: Tensor | None = None
    history_valid: Tensor | None = None


@dataclass(frozen=True, eq=False)
class TrackerSpec:
    """Interface that a tracker offers to plug-ins, passed once before training.

    Attributes:
        name: Name of the tracker, for messages.
        capabilities: Subset of :data:`mot_core.plugins.CAPABILITIES`.
        num_classes: Number of classes ``K`` of the logits.
        embed_dim: Number of channels ``C`` of the embeddings.
        feature_channels: Number of channels of each pyramid level.
        strides: Stride of each pyramid level in pixels of the network input.
        decoder_layers: Number of decoder layers that call ``on_decoder_layer``.
        box_head: Last box head, from ``(..., C)`` to offsets ``(..., 4)`` in logits; the tracker's own, not a copy.
        class_head: Last class head, from ``(..., C)`` to logits ``(..., K)``.
        accepts: Supported non-default values of the options in :data:`mot_core.plugins.OPTIONS`.
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
    """``B`` clips of ``T`` frames, with images padded to one size at the right and bottom.

    All frames of a clip have the same size. Target boxes are center and size in [0, 1] of the image *without* padding
    (``image_size``).

    Attributes:
        images: Normalized images of shape ``(B, T, 3, H, W)``; 0 where padded.
        padding: Boolean mask of shape ``(B, H, W)``, True where padded.
        image_size: Height and width in pixels without padding, of shape ``(B, 2)``, int64.
        original_size: Height and width of the frames in their files, in which results are written, of shape
            ``(B, 2)``, int64.
        times: Real frame numbers of shape ``(B, T)``, int64.
        sequences: ``B`` sequence names.
        targets: ``T`` targets, or None without ground truth.

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
        """Number of frames ``T``."""
        return self.images.shape[1]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """Return a copy on another device; called by Lightning.

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
