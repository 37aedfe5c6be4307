"""Numbered image files: listing them and reading their size from the header, without an image library."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mot_core.io.problems import error

EXTENSIONS = (".jpg", ".jpeg", ".png")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, for every coding


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
    """List the images of a folder that are named by a number (``000001.jpg``); None if there are none."""
    if not folder.is_dir():
        return None
    names = (os.path.splitext(name) for name in os.listdir(folder))
    found = sorted((int(stem), stem, ext) for stem, ext in names if stem.isdecimal() and ext.lower() in EXTENSIONS)
    if not found:
        return None
    _, stem, extension = found[0]
    return ImageFiles(tuple(number for number, _, _ in found), len(stem), extension)


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read (height, width) of a JPEG or PNG file from its header.

    Raises:
        ValueError: If the file is neither, or is truncated.

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
            Path(path), "expected a JPEG or PNG image, got something else or a truncated file", "replace it", "image"
        )
    return size


def _png_size(file: BinaryIO) -> tuple[int, int] | None:
    _, chunk, width, height = struct.unpack(">I4sII", file.read(16))
    return (height, width) if chunk == b"IHDR" else None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    while True:  # segment by segment; a truncated file raises struct.error
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
