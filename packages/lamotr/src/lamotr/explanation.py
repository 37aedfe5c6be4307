"""What a trained tracker associates on a video: objects and tracks of each frame, and the scores of all pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from lamotr.association import ScoredFrame, SlotAssociation
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.extras import require
from mot_core.io.atomic import atomic_path
from mot_core.plugins import Context
from mot_core.structures import ClipBatch, FrameOutput, TrackState
from mot_core.visualization.colors import identity_color

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AssociationExplanation:
    """The association of ``K`` tracks and ``M`` objects in one frame.

    Attributes:
        number: Frame number.
        image: Image of shape ``(H, W, 3)``, from 0 to 1.
        track_ids: Identities of the tracks, of shape ``(K,)``.
        track_boxes_xyxy: Boxes of the tracks in pixels of ``image``, of shape ``(K, 4)``.
        object_boxes_xyxy: Boxes of the objects in pixels of ``image``, of shape ``(M, 4)``.
        object_scores: Detection scores of the objects, of shape ``(M,)``.
        scores: Association scores of shape ``(K, M)``.
    """

    number: int
    image: Floats
    track_ids: npt.NDArray[np.int64]
    track_boxes_xyxy: Floats
    object_boxes_xyxy: Floats
    object_scores: Floats
    scores: Floats


def explain_association(
    tracker: Any, batches: Iterable[ClipBatch], min_score: float = 0.3
) -> list[AssociationExplanation]:
    """Track a video and record the association of every frame that has tracks before it.

    Args:
        tracker: Trained :class:`mot_core.trackers.Tracker` in evaluation mode, an LA-MOTR or one with the plug-in.
        batches: Frames of one video, one per batch.
        min_score: Score from which a detection counts as an object.

    Raises:
        ValueError: If there are no frames, or the tracker has no learned association.

    >>> import tempfile
    >>> from lamotr.lightning import LAMOTR
    >>> from mot_core.data import SyntheticVideo
    >>> from mot_core.data.stream import frame_batch
    >>> from mot_core.streams import open_streams
    >>> from mot_core.trackers import DetectorSettings
    >>> video = SyntheticVideo(num_videos=1, num_frames=2).save(tempfile.mkdtemp(), 0)
    >>> detector = DetectorSettings("small", num_queries=4, embed_dim=32, num_heads=2, num_levels=3)
    >>> (stream,) = open_streams(video)
    >>> tracker = LAMOTR(detector, detection_threshold=0.0).eval()
    >>> [frame] = explain_association(tracker, [frame_batch(stream, 1), frame_batch(stream, 2)], min_score=0.0)
    >>> frame.number, frame.scores.shape
    (2, (4, 4))
    """
    tracker.setup()  # builds the modules of the plug-in
    modules: list[nn.Module] = [part for part in tracker.modules() if isinstance(part, SlotAssociation)]
    if not modules:
        raise ValueError(
            f"tracker: expected LA-MOTR or a tracker with LAMOTRPlugin, got {type(tracker).__name__} without it"
        )
    recorder = _AssociationRecorder(min_score)
    original = tracker.plugins.on_associate

    def on_associate(frame: FrameOutput, tracks: TrackState, ctx: Context) -> Tensor | None:
        scores: Tensor | None = original(frame, tracks, ctx)
        if scores is not None and tracks.boxes_cxcywh is not None:
            recorder.see(frame, tracks.ids[0], tracks.boxes_cxcywh[0], frame.valid[0], scores[0])
        return scores

    def on_slots(module: nn.Module, arguments: tuple[Any, ...], scored: ScoredFrame) -> None:
        frame, columns = scored.frame, scored.tracklets
        scores = frame.boxes_cxcywh.new_zeros(len(columns), frame.valid.shape[1])
        scores[:, scored.objects] = scored.score_logits[0].sigmoid().t()
        objects = frame.valid[0] & ~frame.is_track[0]
        recorder.see(frame, frame.track_ids[0, columns], frame.boxes_cxcywh[0, columns], objects, scores)

    handles = [module.register_forward_hook(on_slots) for module in modules]
    tracker.plugins.on_associate = on_associate
    try:
        for batch in batches:
            recorder.batch = batch
            tracker.track(batch.to(tracker.device))
    finally:
        del tracker.plugins.on_associate
        for handle in handles:
            handle.remove()
    if recorder.batch is None:
        raise ValueError("batches: expected at least one frame, got none")
    return recorder.frames


class _AssociationRecorder:
    """Collects the associations, frame by frame."""

    def __init__(self, min_score: float) -> None:
        self.min_score = min_score
        self.frames: list[AssociationExplanation] = []
        self.batch: ClipBatch | None = None

    def see(self, frame: FrameOutput, ids: Tensor, boxes_cxcywh: Tensor, objects: Tensor, scores: Tensor) -> None:
        """Keep tracks with identities ``ids (K,)``, and objects among the slots with ``scores (K, N)``."""
        assert self.batch is not None, "set before tracking"
        if not len(ids):
            return
        detected = frame.logits[0].sigmoid().amax(-1)
        rows = (objects & (detected >= self.min_score)).nonzero().squeeze(1)
        image = self.batch.images[0, 0].detach().cpu()
        low, high = image.amin(), image.amax()
        height, width = self.batch.image_size[0].tolist()

        def pixels(boxes: Tensor) -> Floats:
            corners = cxcywh_to_xyxy(boxes.detach().float().cpu())
            return (corners * corners.new_tensor([width, height, width, height])).numpy()

        self.frames.append(
            AssociationExplanation(
                int(self.batch.times[0, 0]),
                ((image - low) / (high - low).clamp(min=1e-6)).permute(1, 2, 0)[:height, :width].float().numpy(),
                ids.cpu().numpy(),
                pixels(boxes_cxcywh),
                pixels(frame.boxes_cxcywh[0, rows]),
                detected[rows].detach().float().cpu().numpy(),
                scores[:, rows].detach().float().cpu().numpy(),
            )
        )


def plot_association(frame: AssociationExplanation, path: str | PathLike[str]) -> Path:
    """Draw the tracks and objects of a frame, and the matrix of their scores.

    Tracks are drawn as filled lines in the colors of their identities, objects as numbered dashed lines. Pairs with a
    score above 0.5 are connected.

    Args:
        frame: One element of the result of :func:`explain_association`.
        path: PNG file to write.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: If the extra ``[plot]`` is not installed.

    >>> import tempfile
    >>> boxes = np.array([[2, 2, 9, 9]], np.float32)
    >>> scores = np.array([[0.9]], np.float32)
    >>> image = np.zeros((16, 24, 3), np.float32)
    >>> one = AssociationExplanation(3, image, np.array([4]), boxes, boxes + 1, scores[0], scores)
    >>> plot_association(one, Path(tempfile.mkdtemp()) / "a.png").name
    'a.png'
    """
    require("plot", "drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    tracks, objects = frame.scores.shape
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    left.imshow(frame.image, interpolation="nearest")
    left.set_title(f"frame {frame.number}: tracks (solid) and objects (dashed, numbered)", fontsize=9)
    left.set_axis_off()
    colors = [tuple(part / 255 for part in identity_color(int(one))) for one in frame.track_ids]
    for identity, color, box in zip(frame.track_ids, colors, frame.track_boxes_xyxy, strict=True):
        corner, width, height = box[:2], box[2] - box[0], box[3] - box[1]
        left.add_patch(Rectangle(corner, width, height, fill=False, color=color, linewidth=2))
        left.text(box[0], box[1], str(identity), color=color, fontsize=8, va="bottom")
    for number, box in enumerate(frame.object_boxes_xyxy):
        width, height = box[2] - box[0], box[3] - box[1]
        left.add_patch(Rectangle(box[:2], width, height, fill=False, color="white", linestyle="--"))
        left.text(box[2], box[3], str(number), color="white", fontsize=8, va="top", ha="right")
    for row, column in np.argwhere(frame.scores > 0.5):
        one, other = frame.track_boxes_xyxy[row], frame.object_boxes_xyxy[column]
        ends = [[(box[side] + box[side + 2]) / 2 for box in (one, other)] for side in (0, 1)]
        left.plot(*ends, color=colors[row], marker="o", markersize=3)
    # An empty picture has no limits.
    values = frame.scores if objects else np.zeros((tracks, 1), np.float32)
    shown = right.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    right.set_xlabel("object")
    right.set_ylabel("track")
    right.set_xticks(range(objects))
    right.set_yticks(range(tracks), [str(one) for one in frame.track_ids])
    right.set_title("association score", fontsize=9)
    figure.colorbar(shown)
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
    return Path(path)
