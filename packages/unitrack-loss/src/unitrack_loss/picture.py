"""Plot of the flow between detections over time."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from mot_core.extras import require
from mot_core.io.atomic import atomic_path
from mot_core.visualization import identity_color
from unitrack_loss.clip import TrackClip
from unitrack_loss.explanation import Explanation, explain

FORMATS = ("png", "pdf", "svg")
RIGHT, WRONG, MISSING = "#2a9d4a", "#d62828", "#9a9a9a"


def plot(what: Explanation | TrackClip, path: str | PathLike[str], axis: str = "x", **settings: Any) -> Path:
    """Plot the detections of a clip over time and the flow between them.

    A detection is a dot in the color of its identity, hollow for a false positive. Flow to the next frame is green
    between detections of one object and red otherwise, and wider the stronger it is. A dashed line marks correct edges
    with less than half of the flow. Of the edges across several frames, which the identity flow has, only those of
    switches are drawn, as arcs.

    Args:
        what: Clip or its explanation.
        path: Output file, ``.png``, ``.pdf`` or ``.svg``; replaced only when the plot is complete.
        axis: Image axis drawn vertically, "x" or "y".
        settings: Fields of :class:`Settings`, if a clip is given.

    Returns:
        Path of the output file.

    Raises:
        ValueError: If the file extension or the axis is not supported.
        ModuleNotFoundError: If the extra ``[plot]`` is not installed.

    >>> import tempfile, torch
    >>> ids = torch.tensor([[[0, 1]] * 3])
    >>> boxes = torch.tensor([[[[0.0, 0.0, 10.0, 20.0], [50.0, 0.0, 60.0, 20.0]]] * 3])
    >>> clip = TrackClip(boxes, torch.full((1, 3, 2), 9.0), ids >= 0, ids, boxes, ids, torch.tensor([[480, 640]]))
    >>> plot(clip, tempfile.mkdtemp() + "/flow.png", preset="paper").stat().st_size > 1000
    True
    """
    kind = Path(path).suffix[1:].lower()
    if kind not in FORMATS:
        raise ValueError(f"path must end in {', '.join('.' + one for one in FORMATS)}, got {Path(path).name!r}")
    if axis not in ("x", "y"):
        raise ValueError(f"axis must be 'x' or 'y', got {axis!r}")
    require("plot", "drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if isinstance(what, TrackClip):
        what = explain(what, **settings)
    figure = Figure(figsize=(1.6 + 1.2 * what.clip.valid.shape[1], 4.2), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    _draw(figure.add_subplot(), what, 0 if axis == "x" else 1)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind)
    return Path(path)


def _draw(axes: Any, what: Explanation, axis: int) -> None:
    boxes = what.clip.boxes_xyxy[0].double().cpu().numpy()
    positions = (boxes[..., axis] + boxes[..., axis + 2]) / 2
    for edge in (one for one in what.edges if one.end_frame == one.frame + 1):
        ends = [edge.frame, edge.frame + 1], [positions[edge.frame, edge.start], positions[edge.frame + 1, edge.end]]
        if edge.right and edge.flow < 0.5:
            axes.plot(*ends, color=MISSING, linestyle=(0, (2, 3)), linewidth=1.2, zorder=1)
        color = RIGHT if edge.right else WRONG
        axes.plot(*ends, color=color, linewidth=0.4 + 3 * edge.flow, alpha=0.15 + 0.75 * edge.flow, zorder=2)
    for right, taken in what.switches:
        if right.end_frame > right.frame + 1:
            for edge, color in ((right, MISSING), (taken, WRONG)):
                start, end = edge.frame, edge.end_frame
                tail, head = (start, positions[start, edge.start]), (end, positions[end, edge.end])
                line = {"arrowstyle": "-", "connectionstyle": "arc3,rad=0.2", "color": color, "alpha": 0.6}
                axes.annotate("", head, tail, arrowprops={**line, "linewidth": 0.4 + 1.5 * edge.flow}, zorder=1)
    confidence = what.clip.logits[0].sigmoid().cpu().numpy()
    ids = what.clip.det_gt[0].tolist()
    for frame, row in what.clip.valid[0].nonzero().tolist():
        known = ids[frame][row] >= 0
        fill = [channel / 255 for channel in identity_color(ids[frame][row])] if known else [1.0, 1.0, 1.0]
        size = 25 + 60 * float(confidence[frame, row])
        axes.scatter(frame, positions[frame, row], s=size, color=[fill], edgecolors="black", linewidths=0.7, zorder=3)
    for label, color in (("correct flow", RIGHT), ("wrong flow", WRONG)):
        axes.plot([], [], color=color, linewidth=3, label=label)
    axes.plot([], [], color=MISSING, linestyle=(0, (2, 3)), label="missing flow")
    axes.set_xticks(range(what.clip.valid.shape[1]))
    axes.set_xlabel("frame of the clip")
    axes.set_ylabel(f"{'xy'[axis]} of the center (pixels)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    axes.set_title(
        f"loss {what.output.total.item():.3g}, {len(what.switches)} switches of {int(what.output.num_edges)} edges",
        fontsize=9,
    )
