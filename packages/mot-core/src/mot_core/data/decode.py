"""Reading image files, and keeping the last ones read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from mot_core.extras import needs


def read_image(path: str | PathLike[str]) -> npt.NDArray[np.uint8]:
    """The pixels of an image file, ``(H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no image or a part of one.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = tempfile.mkdtemp() + "/000001.png"
    >>> Image.new("RGB", (4, 3), (255, 0, 9)).save(path)
    >>> read_image(path)[2, 3]
    array([255,   0,   9], dtype=uint8)
    """
    return _decode(path, "RGB")


def read_depth(path: str | PathLike[str]) -> npt.NDArray[np.uint8]:
    """The depth map in a grey image of 8 bits, ``(H, W)`` uint8.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no image, or a coloured one, whose values are not depths.
    """
    return _decode(path, "L")


def _decode(path: str | PathLike[str], mode: str) -> npt.NDArray[np.uint8]:
    image_module = pillow()
    try:
        with image_module.open(path) as image:
            if mode == "L" and image.mode != "L":
                raise ValueError(
                    f"depth map {path} must be a grey image of 8 bits, got mode {image.mode}; "
                    "save the depth itself, not a coloured picture of it"
                )
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise FileNotFoundError(f"image {path} is missing; put it there, or leave out the sequence") from None
    except (OSError, SyntaxError) as error:  # pillow raises SyntaxError for broken PNG files
        raise ValueError(f"image {path} cannot be decoded ({error}); replace the file") from error


def pillow() -> Any:
    """The module ``PIL.Image``, or a sentence how to install it."""
    with needs("PIL", "train", "reading images"):
        from PIL import Image
    return Image


class DecodeCache:
    """Keeps the arrays read last, up to a number of bytes.

    Args:
        max_bytes: that the kept arrays may have together; 0 keeps nothing.

    A copy for another process starts empty.

    >>> cache = DecodeCache(max_bytes=100)
    >>> for name in ("a", "b", "a", "c"):
    ...     _ = cache.get(name, lambda name: np.zeros(40, np.uint8))
    >>> list(cache.kept), cache.num_bytes
    (['a', 'c'], 80)
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes of the decode cache must be 0 or more, got {max_bytes}")
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.kept: OrderedDict[str, npt.NDArray[np.uint8]] = OrderedDict()

    def get(self, path: str, read: Callable[[str], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """The array of a path, read if it is not kept. It must not be changed."""
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
