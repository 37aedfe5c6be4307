"""Image files that are named by numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mot_core.io.problems import error

EXTENSIONS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class ImageFiles:
    """The numbered images of a folder.

    Attributes:
        numbers: Sorted image numbers.
        digits: Number of digits in a file name.
        extension: File extension, including the dot.
    """

    numbers: tuple[int, ...]
    digits: int
    extension: str

    def name(self, number: int) -> str:
        """Return the file name of an image."""
        return f"{number:0{self.digits}d}{self.extension}"


def list_images(folder: Path) -> ImageFiles | None:
    """List the images of a folder that are named by a number (``000001.jpg``); None if there are none.

    Raises:
        ValueError: If two images have the same number.
    """
    if not folder.is_dir():
        return None
    stems = (os.path.splitext(name) for name in os.listdir(folder))
    found = frame_numbers_of(
        folder, [stem + ext for stem, ext in stems if stem.isdecimal() and ext.lower() in EXTENSIONS]
    )
    if not found:
        return None
    numbers = sorted(found)
    stem, extension = os.path.splitext(found[numbers[0]])
    return ImageFiles(tuple(numbers), len(stem), extension)


def frame_numbers_of(folder: Path, names: Iterable[str]) -> dict[int, str] | None:
    """Return file names by the last number in them; None if they differ in anything else but the extension.

    Raises:
        ValueError: If two names have the same number.

    >>> frame_numbers_of(Path("trip"), ["shot9.jpg", "shot10.jpg"])
    {10: 'shot10.jpg', 9: 'shot9.jpg'}
    >>> frame_numbers_of(Path("trip"), ["1.png", "000001.png"])
    Traceback (most recent call last):
    mot_core.io.problems.DataError: trip: expected one image per frame, got 000001.png and 1.png for frame 1; remove...
    """
    numbers: dict[int, str] = {}
    others = set()
    for name in sorted(names):
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", os.path.splitext(name)[0], re.DOTALL)
        if match is None:
            return None
        others.add((match[1], match[3]))
        if len(others) > 1:
            return None
        other = numbers.setdefault(int(match[2]), name)
        if other != name:
            message = f"expected one image per frame, got {other} and {name} for frame {int(match[2])}"
            raise error(folder, message, "remove one of them", "images")
    return numbers
