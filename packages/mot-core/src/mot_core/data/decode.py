"""Decoding of image files, with a cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.extras import needs


def read_image(path: str | PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an image, or is truncated.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = tempfile.mkdtemp() + "/000001.png"
    >>> Image.new("RGB", (4, 3), (255, 0, 9)).save(path)
    >>> read_image(path)[2, 3]
    array([255,   0,   9], dtype=uint8)
    """
    return _decode(path, "RGB")


def read_depth(path: str | PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read a depth map from an 8-bit grayscale image as ``(H, W)`` uint8.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an 8-bit grayscale image.
    """
    return _decode(path, "L")


def _decode(path: str | PathLike[str], mode: str) -> npt.NDArray[np.uint8]:
    image_module = pillow()
    try:
        with image_module.open(path) as image:
            if mode == "L" and image.mode != "L":
                raise ValueError(
                    f"depth map {path}: expected an 8-bit grayscale image, got mode {image.mode}; "
                    "save the depth values, not a colored rendering of them"
                )
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise FileNotFoundError(f"image {path} is missing; add the file, or remove the sequence") from None
    except (OSError, SyntaxError) as error:  # pillow raises SyntaxError for broken PNG files
        raise ValueError(f"image {path} cannot be decoded ({error}); replace the file") from error


def pillow() -> Any:
    """Import ``PIL.Image``, or raise an error that states how to install it."""
    with needs("PIL", "train", "reading images"):
        from PIL import Image
    return Image


class DecodeCache:
    """Least-recently-used cache of decoded arrays.

    Args:
        max_bytes: Upper limit of the total size of cached arrays in bytes. 0 disables the cache.

    A copy in another process starts empty.

    >>> cache = DecodeCache(max_bytes=100)
    >>> for name in ("a", "b", "a", "c"):
    ...     _ = cache.get(name, lambda name: np.zeros(40, np.uint8))
    >>> list(cache.kept), cache.num_bytes
    (['a', 'c'], 80)
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes: expected at least 0, got {max_bytes}")
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.kept: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()

    def get(self, path: str, read: Callable[[str], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """Return the array of a path, reading it if it is not cached. The array is read-only."""
        if path in self.kept:
            self.kept.move_to_end(path)
            return self.kept[path]
        array = read(path)
        array.flags.writeable = False
        if array.nbytes <= self.max_bytes:
            self.kept[path] = array
            self.num_bytes += array.nbytes
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= self.kept.popitem(last=False)[1].nbytes
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "num_bytes": 0, "kept": OrderedDict()}
