"""Trajectories in space and time: the output of a tracker in one figure, without images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mot_core.extras import require
from mot_core.io.atomic import atomic_path
from mot_core.visualization.colors import identity_color
from mot_core.visualization.paths import paths_by_identity

if TYPE_CHECKING:
    from mot_core.io import BoxTable, Sequence

LABEL_ROOM = (26.0, 15.0)
"""Width and height in pixels of the figure that one identity label needs."""


def save_trajectories(sequence: Sequence, tracks: BoxTable, path: str | Path) -> Path:
    """Save a PNG with the paths of all box centers: in the image plane, and x and y over time.

    A line breaks where its identity is not reported. Each identity has the same color in all panels, so an identity
    switch appears as a change of color along a path.

    Args:
        sequence: Sequence with name, frames and image size.
        tracks: Rows of a result or of a ground truth.
        path: Output file, replaced only once it is complete.

    Returns:
        Path of the written file.

    Raises:
        ModuleNotFoundError: If the extra ``[plot]`` is missing.

    >>> import tempfile
    >>> from mot_core.io import find_sequences, make_scene
    >>> scene = make_scene(num_objects=3, num_frames=20, image_size=(120, 200))
    >>> folder = scene.save(tempfile.mkdtemp(), "crossing")
    >>> (sequence,) = find_sequences(folder, benchmark="generic")
    >>> path = save_trajectories(sequence, scene.ground_truth, folder / "paths.png")
    >>> from PIL import Image
    >>> with Image.open(path) as picture:
    ...     picture.size
    (1920, 896)
    """
    require("plot", "drawing")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot, which keeps figures alive, picks a window system and is not thread-safe.
    figure = Figure(figsize=(12, 5.6), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplot_mosaic([["plane", "x"], ["plane", "y"]], width_ratios=[1.15, 1])
    plane, over_x, over_y = panels["plane"], panels["x"], panels["y"]

    paths = paths_by_identity(tracks)
    for identity, points in paths.items():
        color = np.array(identity_color(identity)) / 255
        frames, x, y = _broken(points).T
        for axes, horizontal, vertical in ((plane, x, y), (over_x, frames, x), (over_y, frames, y)):
            axes.plot(horizontal, vertical, color=color, linewidth=1.3, solid_capstyle="round")
            axes.plot(horizontal[:1], vertical[:1], "o", markersize=3, color=color)
    _label_axes(sequence, tracks, plane, over_x, over_y)
    figure.suptitle(
        f"{sequence.name}: {len(paths)} identities, {len(tracks)} boxes, {len(sequence.present_numbers())} frames",
        fontsize=11,
    )
    figure.draw_without_rendering()  # lays out the panels, so that space for labels can be measured
    for axes, columns in ((plane, (1, 2)), (over_x, (0, 1)), (over_y, (0, 2))):
        _label_starts(axes, {identity: points[0, columns] for identity, points in paths.items()})
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return Path(path)


def _label_starts(axes: Any, starts: dict[int, npt.NDArray[np.float64]]) -> None:
    """Write each identity at the start of its path, in ascending order, unless another label is in the way."""
    taken = np.zeros((0, 2))
    for identity, start in starts.items():
        pixels = axes.transData.transform(start)
        if (np.abs(taken - pixels) < LABEL_ROOM).all(1).any():
            continue
        taken = np.vstack([taken, pixels])
        axes.annotate(
            str(identity),
            start,
            xytext=(3, 3),
            textcoords="offset points",
            color=np.array(identity_color(identity)) / 255 * 0.75,
            fontsize=7,
        )


def _broken(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Insert a row of NaN in every gap of frames, where the line breaks."""
    gaps = np.flatnonzero(np.diff(points[:, 0]) > 1) + 1
    return np.insert(points, gaps, np.nan, axis=0)


def _label_axes(sequence: Sequence, tracks: BoxTable, plane: Any, over_x: Any, over_y: Any) -> None:
    if sequence.image_size is not None:
        height, width = sequence.image_size
    elif len(tracks):
        width, height = tracks.boxes_xyxy[:, 2:].max(0)
    else:
        height, width = 1080, 1920
    plane.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="x (px)", ylabel="y (px)")
    plane.set_title("image plane", fontsize=9)
    numbers = sequence.frame_numbers()
    for axes, label in ((over_x, "x (px)"), (over_y, "y (px)")):
        axes.set(xlim=(numbers[0], numbers[-1]), ylabel=label)
    over_y.invert_yaxis()  # up in the image is up in the plot
    over_x.set_title("over time", fontsize=9)
    over_x.tick_params(labelbottom=False)
    over_y.set_xlabel("frame")
    for axes in (plane, over_x, over_y):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
