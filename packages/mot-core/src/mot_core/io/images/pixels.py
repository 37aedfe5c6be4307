"""Decoding of image files to 8-bit RGB: the one function through which every image is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.extras import needs
from mot_core.io.images.header import check_pixels, read_header
from mot_core.io.problems import DataError, error

SAMPLED = 32
"""Number of images of a folder from which the range of its gray values is determined."""
# Numpy operations on (H, W, ...) that show an image upright, by EXIF orientation.
_UPRIGHT: dict[int, Any] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8, upright by its EXIF orientation as in OpenCV.

    Palettes and CMYK are converted, and alpha is dropped. Gray images of more than 8 bits (16 or 32-bit integers,
    floating point) share one linear scale per folder, so that brightness does not flicker from frame to frame: 0 is
    the smallest and 255 the largest value in 32 evenly spaced images of the folder (all, if it has fewer); values
    beyond are clipped. 16-bit color keeps its upper 8 bits.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an image, is truncated, has more than ``MAX_PIXELS`` pixels, or has values that
            are not finite.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/000001.png"
    >>> pillow().new("RGB", (4, 3), (255, 0, 9)).save(path)
    >>> read_image(path)[2, 3]
    array([255,   0,   9], dtype=uint8)
    >>> thermal = tempfile.mkdtemp() + "/000001.png"
    >>> pillow().fromarray(np.array([[7000, 7600, 9000]], np.uint16)).save(thermal)
    >>> read_image(thermal)[0, :, 0]
    array([  0,  76, 255], dtype=uint8)
    """
    pixels: npt.NDArray[Any]
    with opened_image(path) as (image, upright):
        if _is_deep(image):
            pixels = _values(path, image)
        else:
            # Via RGBA, because a palette with transparency is converted to RGB with a warning only.
            pixels = np.asarray((image.convert("RGBA") if image.mode in ("P", "PA") else image).convert("RGB"))
    if pixels.ndim == 2:
        low, high = _range_of(Path(path))
        scaled = (pixels.clip(low, high) - low) * (255 / ((high - low) or 1))
        pixels = np.repeat(scaled.round().astype(np.uint8)[..., None], 3, -1)
    return np.ascontiguousarray(upright(pixels))


def pillow() -> Any:
    """Import ``PIL.Image``, or raise an error that states how to install it."""
    with needs("PIL", "train", "reading images"):
        from PIL import Image
    return Image


@contextmanager
def opened_image(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """Yield an opened image and the function that shows its pixels upright; errors become one sentence."""
    module = pillow()
    try:
        header = read_header(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"image {path} is missing; add the file, or remove the sequence") from None
    bombs = (module.DecompressionBombError, module.DecompressionBombWarning)
    try:
        with module.open(path) as image:
            check_pixels(Path(path), image.size[::-1])
            if header is None:  # another format: Pillow knows the orientation
                from PIL.ImageOps import exif_transpose

                yield exif_transpose(image), _UPRIGHT[1]
            else:
                yield image, _UPRIGHT[header.orientation]
    except DataError:
        raise
    # Pillow raises SyntaxError for broken PNG files and ValueError for unsupported conversions.
    except (OSError, SyntaxError, ValueError, *bombs) as reason:
        raise ValueError(f"image {path} cannot be decoded ({reason}); replace the file") from reason


def _is_deep(image: Any) -> bool:
    """Return whether an image is gray with more than 8 bits: mode I;16 and its variants, I or F."""
    return str(image.mode)[0] in "IF"


def _values(path: str | os.PathLike[str], image: Any) -> npt.NDArray[np.float64]:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise error(Path(path), "expected finite values, got NaN or infinity", "replace them", "image")
    return values


def _range_of(path: Path) -> tuple[float, float]:
    """Return smallest and largest value of the deep gray images of the same extension in the folder of an image."""
    folder = path.parent
    return _range_of_folder(folder.absolute(), path.suffix.lower(), folder.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _range_of_folder(folder: Path, suffix: str, changed: int) -> tuple[float, float]:
    # ``changed`` is a key of the cache: files added to the folder may extend the range.
    files = sorted(child for child in folder.iterdir() if child.suffix.lower() == suffix and child.is_file())
    chosen = np.linspace(0, len(files) - 1, min(len(files), SAMPLED)).round().astype(int)
    ranges = []
    for file in (files[position] for position in chosen):
        with opened_image(file) as (image, _):
            if _is_deep(image):
                values = _values(file, image)
                ranges.append((values.min(), values.max()))
    if not ranges:
        message = "expected images of one bit depth, got few with more than 8 bits among others"
        raise error(folder, message, "convert all to 8 bits", "image")
    low, high = zip(*ranges, strict=True)
    return float(min(low)), float(max(high))
