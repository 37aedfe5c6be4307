"""Numbered image files: which there are, and their size from the header, without an image library."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mot_core.io.problems import error

EXTENSIONS = (".jpg", ".jpeg", ".png")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of any coding


@dataclass(frozen=True)
class ImageFiles:
    """The numbered images of a folder.

    Attributes:
        numbers: their numbers, sorted.
        digits: how many digits a name has.
        extension: with the dot.
    """

    numbers: tuple[int, ...]
    digits: int
    extension: str

    def name(self, number: int) -> str:
        """The file name of an image."""
        return f"{number:0{self.digits}d}{self.extension}"


def list_images(folder: Path) -> ImageFiles | None:
    """The images of a folder that are named by a number (``000001.jpg``); None where there are none."""
    if not folder.is_dir():
        return None
    names = (os.path.splitext(name) for name in os.listdir(folder))
    found = sorted((int(stem), stem, ext) for stem, ext in names if stem.isdecimal() and ext.lower() in EXTENSIONS)
    if not found:
        return None
    _, stem, extension = found[0]
    return ImageFiles(tuple(number for number, _, _ in found), len(stem), extension)


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a JPEG or PNG file, from its header.

    Raises:
        ValueError: it is neither, or is cut off.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> _ = path.write_bytes(_PNG + struct.pack(">I4sII", 13, b"IHDR", 640, 480))
    >>> read_image_size(path)
    (480, 640)
    """
    with open(path, "rb") as file:
        try:
            size = _png_size(file) if file.read(8) == _PNG else _jpeg_size(file)
        except struct.error:
            size = None
    if size is None:
        raise error(
            Path(path), "expected a JPEG or PNG image, got something else or a part of one", "replace it", "image"
        )
    return size


def _png_size(file: BinaryIO) -> tuple[int, int] | None:
    _, chunk, width, height = struct.unpack(">I4sII", file.read(16))
    return (height, width) if chunk == b"IHDR" else None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    while True:  # from segment to segment; a cut file ends in struct.error
        start, marker = struct.unpack(">BB", file.read(2))
        if start != 0xFF:
            return None
        if marker == 0xFF:  # fill byte
            file.seek(-1, os.SEEK_CUR)
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if marker in _JPEG_SIZE_MARKERS:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return height, width
        file.seek(length - 2, os.SEEK_CUR)
