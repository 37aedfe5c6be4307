"""``seqinfo.ini``, the description of a sequence in the MOTChallenge layout."""

from __future__ import annotations

import configparser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mot_core.io._numbers import NUMBER
from mot_core.io.atomic import open_atomic
from mot_core.io.problems import error, require_file

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class SeqInfo:
    """Content of a ``seqinfo.ini``; None for missing entries.

    Attributes:
        name: Name of the sequence.
        image_dir: Folder of the images, relative to the folder of the sequence.
        image_ext: Extension of the images, including the dot.
        frame_rate: Frames per second.
        length: Number of frames.
        image_size: (height, width) in pixels.
    """

    name: str | None = None
    image_dir: str = "img1"
    image_ext: str = ".jpg"
    frame_rate: float | None = None
    length: int | None = None
    image_size: tuple[int, int] | None = None


def read_seqinfo(path: Path) -> SeqInfo:
    r"""Read a ``seqinfo.ini``.

    Raises:
        ValueError: If it is not a regular file or not an ini file, has no section [Sequence], or a number is invalid or
            not positive.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "seqinfo.ini"
    >>> _ = path.write_text("[Sequence]\nseqLength=600\nframeRate=30\nimWidth=1920\nimHeight=1080\n")
    >>> info = read_seqinfo(path)
    >>> info.length, info.image_size
    (600, (1080, 1920))
    """
    require_file(path, "seqinfo")
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except (configparser.Error, UnicodeDecodeError) as reason:
        message = "expected an ini file as in MOTChallenge, got " + " ".join(str(reason).split())
        raise error(path, message, "correct or remove it", "seqinfo") from None
    if not parser.has_section("Sequence"):
        raise error(path, "expected a section [Sequence], got none", "add that line at the top", "seqinfo")
    section = parser["Sequence"]

    def number(key: str, convert: Callable[[str], T]) -> T | None:
        text = section.get(key)
        if text is None:
            return None
        try:
            value = convert(text) if NUMBER.fullmatch(text) else None
        except ValueError:
            value = None
        if value is None or not 0 < value < 1e9:
            raise error(path, f"{key} must be a positive number, got {text!r}", "correct it", "seqinfo")
        return value

    height, width = number("imHeight", int), number("imWidth", int)
    return SeqInfo(
        name=section.get("name"),
        image_dir=section.get("imDir", "img1"),
        image_ext=section.get("imExt", ".jpg"),
        frame_rate=number("frameRate", float),
        length=number("seqLength", int),
        image_size=(height, width) if height and width else None,
    )


def write_seqinfo(path: Path, info: SeqInfo) -> None:
    """Write a ``seqinfo.ini``; entries that are None are left out."""
    height, width = info.image_size or (None, None)
    entries = {
        "name": info.name,
        "imDir": info.image_dir,
        "frameRate": None if info.frame_rate is None else f"{info.frame_rate:g}",
        "seqLength": info.length,
        "imWidth": width,
        "imHeight": height,
        "imExt": info.image_ext,
    }
    lines = [f"{key}={value}" for key, value in entries.items() if value is not None]
    with open_atomic(path) as file:
        file.write("\n".join(["[Sequence]", *lines, ""]))
