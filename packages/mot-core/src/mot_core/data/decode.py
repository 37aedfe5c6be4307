"""Cache of decoded image files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from mot_core.io.images import pillow, read_image

__all__ = ["DecodeCache", "pillow", "read_image"]


class DecodeCache:
    """Least-recently-used cache of decoded arrays.

    Args:
        max_bytes: Upper limit of the total size of cached arrays in bytes. 0 disables the cache.

    A copy in another process starts empty.

    >>> import numpy as np
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
        self.kept: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()

    def get(self, path: str, read: Callable[[str], npt.NDArray[Any]]) -> npt.NDArray[Any]:
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
