"""Size of a video file according to its own header: a file that is shorter was cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SEGMENT = 0x18538067  # the element of Matroska that holds all frames


def is_cut_off(path: Path) -> bool:
    """Return whether a file ends before its header says so; False for containers that do not declare their size.

    AVI (RIFF), Matroska and WebM (EBML), and MP4 and MOV (ISO base media) start every part with its size.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "clip.avi"
    >>> _ = path.write_bytes(b"RIFF" + (100).to_bytes(4, "little") + bytes(40))
    >>> is_cut_off(path)
    True
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        part_end: Callable[[BinaryIO], int | None]
        if start.startswith(b"RIFF"):
            part_end = _riff_end
        elif start.startswith(b"\x1a\x45\xdf\xa3"):
            part_end = _ebml_end
        elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            part_end = _box_end
        else:
            return False
        while (position := file.tell()) < size:
            end = part_end(file)
            if end is None or end <= position:  # not declared
                return False
            if end > size:
                return True
            file.seek(end)
    return False


def _riff_end(file: BinaryIO) -> int | None:
    """Return the end of a RIFF chunk; large AVI files have several."""
    head = file.read(8)
    if len(head) < 8 or head[:4] != b"RIFF":
        return None
    length = int.from_bytes(head[4:], "little")
    return file.tell() + length if length else None  # 0 while a recording has not been closed


def _ebml_end(file: BinaryIO) -> int | None:
    """Return the end of an EBML element, or None for other elements after the segment."""
    identity = _variable(file, keep_marker=True)
    length = _variable(file, keep_marker=False)
    if identity not in (0x1A45DFA3, SEGMENT) or length is None:
        return None
    return file.tell() + length


def _variable(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """Read an integer of variable length; None for the reserved value "unknown" and at the end of the file."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    marker = 0x80 >> extra
    value = int.from_bytes(bytes([first[0] if keep_marker else first[0] & (marker - 1)]) + file.read(extra), "big")
    return None if not keep_marker and value == (1 << 7 * (extra + 1)) - 1 else value


def _box_end(file: BinaryIO) -> int | None:
    """Return the end of a box of the ISO base media format."""
    position = file.tell()
    head = file.read(8)
    if len(head) < 8:
        return None
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(file.read(8), "big")
    return position + length if length else None
