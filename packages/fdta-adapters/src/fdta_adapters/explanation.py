"""What the adapters of a trained tracker do on a video: depth, attention to it, use of history, and similarity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fdta_adapters.functional.similarity import InterObjectSimilarity, inter_object_similarity
from fdta_adapters.modules.spatial import DepthState, SpatialAdapter
from fdta_adapters.modules.temporal import TemporalAdapter
from mot_core.extras import require
from mot_core.io.atomic import atomic_path
from mot_core.plugins import Context
from mot_core.structures import ClipBatch, FrameOutput

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FrameExplanation:
    """What the spatial adapter does in one frame.

    Attributes:
        number: Frame number.
        image: Image of shape ``(H, W, 3)``, from 0 to 1.
        depth: Predicted depth of shape ``(h, w)``, in the unit of the bins.
        attention: Attention of the objects to the depth cells in the last decoder layer, ``(h, w)``; sums to 1.
    """

    number: int
    image: Floats
    depth: Floats
    attention: Floats


@dataclass(frozen=True, eq=False)
class AdapterExplanation:
    """What the adapters do on a video.

    Attributes:
        frames: Frames with a spatial adapter; empty without one.
        interaction: Attention between the frames of one history in the last layer of the temporal adapter, of shape
            ``(T, T)``; rows attend to columns. None without a temporal adapter.
        similarity: Similarity of the embeddings of different objects in a frame.
    """

    frames: tuple[FrameExplanation, ...]
    interaction: Floats | None
    similarity: InterObjectSimilarity


def explain_adapters(tracker: Any, batches: Iterable[ClipBatch], *, min_score: float = 0.3) -> AdapterExplanation:
    """Track a video and record what the adapters do.

    Args:
        tracker: Trained :class:`mot_core.trackers.Tracker` in evaluation mode.
        batches: Frames of one video, one per batch.
        min_score: Score from which a slot of the detector counts as an object.

    Raises:
        ValueError: If there are no frames, or the tracker has no embeddings.

    >>> import tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> from mot_core.data.stream import frame_batch
    >>> from mot_core.streams import open_streams
    >>> from mot_core.trackers import MOTR, DetectorSettings
    >>> video = SyntheticVideo(num_videos=1, num_frames=2).save(tempfile.mkdtemp(), 0)
    >>> detector = DetectorSettings("small", num_queries=4, embed_dim=32, num_heads=2, num_levels=3)
    >>> (stream,) = open_streams(video)
    >>> found = explain_adapters(MOTR(detector).eval(), [frame_batch(stream, 1), frame_batch(stream, 2)], min_score=0.0)
    >>> len(found.similarity.similarity)  # 6 pairs of 4 objects, in each of 2 frames
    12
    """
    if "embeddings" not in tracker.capabilities:
        raise ValueError(f"tracker: expected a tracker with embeddings, got {type(tracker).__name__}")
    tracker.setup()  # builds the adapters
    recorder = _Recorder(min_score)
    spatial = [part for part in tracker.modules() if isinstance(part, SpatialAdapter)]
    temporal = [part for part in tracker.modules() if isinstance(part, TemporalAdapter)]
    original = tracker.plugins.on_embeddings

    def on_embeddings(frame: FrameOutput, ctx: Context) -> FrameOutput:
        frame = original(frame, ctx)
        recorder.see_embeddings(frame)
        return frame

    handles = [part.register_forward_pre_hook(recorder.see_history) for part in temporal]
    for part in spatial:
        part.attend = recorder.attending(part)  # type: ignore[method-assign]
    tracker.plugins.on_embeddings = on_embeddings
    try:
        for batch in batches:
            recorder.start(batch)
            tracker.track(batch.to(tracker.device))
            recorder.finish()
    finally:
        del tracker.plugins.on_embeddings
        for handle in handles:
            handle.remove()
        for part in spatial:
            del part.attend
    if not recorder.counts:
        raise ValueError("batches: expected at least one frame, got none")
    interaction = _interaction(temporal[0], recorder.history) if temporal and recorder.history is not None else None
    rows = torch.cat(recorder.embeddings)
    numbers = torch.arange(len(recorder.counts)).repeat_interleave(torch.tensor(recorder.counts))
    return AdapterExplanation(tuple(recorder.frames), interaction, inter_object_similarity(rows, numbers))


@dataclass
class _Recorder:
    """Collects what the adapters see, frame by frame."""

    min_score: float
    frames: list[FrameExplanation] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    history: tuple[Tensor, Tensor] | None = None
    batch: ClipBatch | None = None
    weights: Tensor | None = None
    state: DepthState | None = None
    factor: int = 1
    objects: Tensor | None = None

    def start(self, batch: ClipBatch) -> None:
        self.batch, self.weights, self.state, self.objects = batch, None, None, None

    def see_embeddings(self, frame: FrameOutput) -> None:
        assert frame.embeddings is not None, "checked in explain_adapters"
        objects = frame.valid[0] & (frame.logits[0].sigmoid().amax(-1) >= self.min_score)
        self.objects = objects.cpu()
        self.embeddings.append(frame.embeddings[0, objects].detach().cpu())
        self.counts.append(int(objects.sum()))

    def see_history(self, module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        """Keep the history with most frames of an object; of several, the last."""
        x, missing = arguments[:2]
        frames = x.shape[-2]
        rows, gone = x.reshape(-1, frames, x.shape[-1]), missing.reshape(-1, frames)
        if not len(rows):
            return
        best = int((~gone).sum(1).argmax())
        if self.history is None or int((~gone[best]).sum()) >= int((~self.history[1]).sum()):
            self.history = rows[best].detach(), gone[best].detach()

    def attending(self, adapter: SpatialAdapter) -> Any:
        """Return a replacement of ``adapter.attend`` that keeps the attention weights of the last layer."""
        original = adapter.attend

        def attend(layer: int, queries: Tensor, state: DepthState) -> Tensor:
            if layer == len(adapter.cross) - 1:
                cross: Any = adapter.cross[layer]
                asked = queries if cross.gate is None else cross.norm(queries)
                memory = state.memory.to(asked.dtype)
                self.weights = cross.attention(asked, memory, memory, key_padding_mask=state.key_padding)[1][0].cpu()
                self.state, self.factor = state, adapter.factor  # cells of the memory may be coarser than the depth
            return original(layer, queries, state)

        return attend

    def finish(self) -> None:
        if self.weights is None or self.state is None or self.batch is None:
            return
        height, width = self.state.padding.shape[-2:]
        shape = -(-height // self.factor), -(-width // self.factor)
        chosen = self.weights
        if self.objects is not None and len(self.objects) == len(chosen) and bool(self.objects.any()):
            chosen = chosen[self.objects]
        attention = chosen.mean(0).reshape(shape)
        image = self.batch.images[0, 0].detach().cpu()
        low, high = image.amin(), image.amax()
        self.frames.append(
            FrameExplanation(
                int(self.batch.times[0, 0]),
                ((image - low) / (high - low).clamp(min=1e-6)).permute(1, 2, 0).float().numpy(),
                self.state.depth[0].detach().float().cpu().numpy(),
                attention.detach().float().numpy(),
            )
        )


def _interaction(adapter: TemporalAdapter, history: tuple[Tensor, Tensor]) -> Floats:
    """Return the attention weights of the last layer for one history, averaged over heads."""
    x, missing = history
    x = x.masked_fill(missing[:, None], 0)[None]
    positions, mask = adapter.positions_and_mask(x, missing[None])
    with torch.no_grad():
        for layer in adapter.layers[:-1]:
            x = layer(x, positions, None, mask)
        last: Any = adapter.layers[-1]
        weights: Tensor = last.self_attn(x + positions, x + positions, x, attn_mask=mask)[1][0]
    return weights.float().cpu().numpy()


def plot_adapters(explanation: AdapterExplanation, folder: str | PathLike[str], *, pictures: int = 5) -> list[Path]:
    """Draw an explanation into a folder.

    ``depth.png`` shows evenly spaced frames with predicted depth and attention, ``history.png`` the use of history,
    and ``similarity.png`` the histogram of similarities; the first two only with the adapters they show.

    Args:
        explanation: Result of :func:`explain_adapters`.
        folder: Folder of the files.
        pictures: Number of frames in ``depth.png``.

    Returns:
        Paths of the files.

    Raises:
        ModuleNotFoundError: If the extra ``[plot]`` is not installed.

    >>> import tempfile
    >>> similarity = inter_object_similarity(torch.eye(3), torch.zeros(3, dtype=torch.int64))
    >>> [path.name for path in plot_adapters(AdapterExplanation((), None, similarity), tempfile.mkdtemp())]
    ['similarity.png']
    """
    require("plot", "drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def save(figure: Any, name: str) -> Path:
        FigureCanvasAgg(figure)
        with atomic_path(Path(folder) / name) as temporary:
            figure.savefig(temporary, format="png", dpi=130)
        return Path(folder) / name

    written = []
    if explanation.frames:
        at = np.linspace(0, len(explanation.frames) - 1, min(pictures, len(explanation.frames))).round().astype(int)
        figure = Figure(figsize=(3 * len(at), 5.4), layout="constrained")
        axes = figure.subplots(3, len(at), squeeze=False)
        for column, frame in zip(axes.T, (explanation.frames[index] for index in at), strict=True):
            pictured = ((frame.image, None), (frame.depth, "magma"), (frame.attention, "viridis"))
            for axis, (pixels, colors) in zip(column, pictured, strict=True):
                axis.imshow(pixels, cmap=colors, interpolation="nearest", aspect="auto")
                axis.set_xticks([])
                axis.set_yticks([])
            column[0].set_title(f"frame {frame.number}", fontsize=9)
        for axis, words in zip(axes[:, 0], ("image", "predicted depth", "attention of objects"), strict=True):
            axis.set_ylabel(words, fontsize=9)
        written.append(save(figure, "depth.png"))
    if explanation.interaction is not None:
        figure = Figure(figsize=(4.4, 3.8), layout="constrained")
        axis = figure.subplots()
        shown = axis.imshow(explanation.interaction, cmap="viridis", vmin=0)
        axis.set_xlabel("frame that is attended to")
        axis.set_ylabel("frame")
        figure.colorbar(shown, label="attention")
        written.append(save(figure, "history.png"))
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axis = figure.subplots()
    counts = explanation.similarity.histogram.numpy()
    edges = np.linspace(-1, 1, len(counts) + 1)
    axis.bar(edges[:-1], counts / max(counts.sum(), 1), width=np.diff(edges), align="edge")
    axis.axvline(0.9, color="black", linestyle=":")
    axis.set_xlabel("cosine similarity of different objects in a frame")
    axis.set_ylabel("share of pairs")
    axis.set_title(f"{explanation.similarity.above.item():.0%} of the pairs above 0.9", fontsize=10)
    written.append(save(figure, "similarity.png"))
    return written
