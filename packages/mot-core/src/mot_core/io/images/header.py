"""Size and orientation of JPEG and PNG files, read from their headers without an image library."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mot_core.io.problems import error, require_file

MAX_PIXELS = 89_478_485
"""Largest number of pixels of an image; beyond it, Pillow warns of a decompression bomb."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, for every coding
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112  # tag in the first directory of EXIF data


@dataclass(frozen=True)
class ImageHeader:
    """Size and orientation of an image file.

    Attributes:
        size: (height, width) of the stored pixels.
        orientation: EXIF orientation from 1 (upright) to 8; 5 to 8 exchange height and width.
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        return self.size[::-1] if self.orientation > 4 else self.size


def read_image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read (height, width) of a JPEG or PNG file from its header, as shown upright by its EXIF orientation.

    Raises:
        ValueError: If the file is neither, is truncated, or has more than ``MAX_PIXELS`` pixels.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.png"
    >>> _ = path.write_bytes(_PNG + struct.pack(">I4sII", 13, b"IHDR", 640, 480))
    >>> read_image_size(path)
    (480, 640)
    """
    header = read_header(path)
    if header is None or min(header.size) < 1:
        raise error(
            Path(path), "expected a JPEG or PNG image, got something else or a truncated file", "replace it", "image"
        )
    return header.shown_size


def read_header(path: str | os.PathLike[str]) -> ImageHeader | None:
    """Read size and orientation of an image file; None if it is neither JPEG nor PNG, or is truncated.

    Raises:
        ValueError: If it has more than ``MAX_PIXELS`` pixels, or is not a regular file.
    """
    require_file(Path(path), "image")
    with open(path, "rb") as file:
        try:
            header = _png_header(file) if file.read(8) == _PNG else _jpeg_header(file)
        except struct.error:
            header = None
    if header is not None:
        check_pixels(Path(path), header.size)
    return header


def check_pixels(path: Path, size: tuple[int, int]) -> None:
    """Raise ValueError if an image of (height, width) has more than ``MAX_PIXELS`` pixels."""
    if size[0] * size[1] > MAX_PIXELS:
        raise error(path, f"expected at most {MAX_PIXELS} pixels, got {size[1]}x{size[0]}", "scale it down", "image")


def _png_header(file: BinaryIO) -> ImageHeader | None:
    _, chunk, width, height = struct.unpack(">I4sII", file.read(16))
    if chunk != b"IHDR":
        return None
    file.seek(9, os.SEEK_CUR)  # the rest of IHDR and its checksum
    while len(start := file.read(8)) == 8:  # chunk by chunk; EXIF data may follow the pixels
        length, chunk = struct.unpack(">I4s", start)
        if chunk == b"eXIf":
            return ImageHeader((height, width), _orientation(file.read(length)))
        file.seek(length + 4, os.SEEK_CUR)
    return ImageHeader((height, width))


def _jpeg_header(file: BinaryIO) -> ImageHeader | None:
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    orientation = None
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
            return ImageHeader((height, width), orientation or 1)
        if marker == 0xE1 and orientation is None:
            content = file.read(max(length - 2, 0))
            if content.startswith(_EXIF):
                orientation = _orientation(content[len(_EXIF) :])
        else:
            file.seek(length - 2, os.SEEK_CUR)


def _orientation(exif: bytes) -> int:
    """Return the orientation in EXIF data; 1 if it has none or is malformed, as in OpenCV."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, directory + 2 + 12 * entry)
            if tag == _ORIENTATION and kind == 3:  # a 16-bit integer
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
