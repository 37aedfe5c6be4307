"""A sheet of frames: a whole sequence in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mot_core.extras import require
from mot_core.io.atomic import atomic_path
from mot_core.visualization.frames import Images, TrackedFrames

if TYPE_CHECKING:
    from mot_core.io import BoxTable, Sequence

GUTTER = 12
CELL_WIDTH = 800


def save_sheet(
    sequence: Sequence,
    tracks: BoxTable,
    path: str | Path,
    *,
    columns: int = 3,
    rows: int = 2,
    images: Images | None = None,
) -> Path:
    """Save a PNG of ``columns * rows`` frames, evenly spaced over the sequence, with boxes, identities and trails.

    Args:
        sequence: Sequence with the images and the frame numbers to choose from.
        tracks: Rows of a result or of a ground truth.
        path: Output file, replaced only once it is complete.
        columns: Number of frames per row.
        rows: Number of rows.
        images: Function that reads the frame with a given number, ``(H, W, 3)`` uint8, if frames are not files.

    Returns:
        Path of the written file.

    Raises:
        ModuleNotFoundError: If the extra ``[plot]`` is missing.

    >>> import tempfile
    >>> from mot_core.io import find_sequences, make_scene
    >>> scene = make_scene(num_objects=3, num_frames=20, image_size=(120, 200))
    >>> folder = scene.save(tempfile.mkdtemp(), "crossing")
    >>> (sequence,) = find_sequences(folder, benchmark="generic")
    >>> path = save_sheet(sequence, scene.ground_truth, folder / "sheet.png", columns=2, rows=1)
    >>> from PIL import Image
    >>> with Image.open(path) as picture:
    ...     picture.size
    (1612, 480)
    """
    require("plot", "drawing")
    from PIL import Image

    numbers = sequence.present_numbers()
    count = min(columns * rows, len(numbers))
    shown = [numbers[int((i + 0.5) * len(numbers) / count)] for i in range(count)]
    frames = TrackedFrames(sequence, tracks, tail=2.0, images=images)
    # Drawn large and then reduced, to smooth slanted lines and letters.
    factor = max(1.0, 2 * CELL_WIDTH / frames.size[0]) * frames.scale
    frames = TrackedFrames(sequence, tracks, tail=2.0, magnify=factor, images=images)
    width, height = CELL_WIDTH, round(CELL_WIDTH * frames.size[1] / frames.size[0])
    columns = min(columns, count)
    lines = -(-count // columns)
    sheet = Image.new("RGB", (columns * (width + GUTTER) - GUTTER, lines * (height + GUTTER) - GUTTER), "white")
    for cell, number in enumerate(shown):
        picture = frames.draw(number).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(picture, (cell % columns * (width + GUTTER), cell // columns * (height + GUTTER)))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return Path(path)
