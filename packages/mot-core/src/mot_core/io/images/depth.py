"""Depth maps next to the images of a sequence: ``depth/NAME.png`` or ``depth/NAME.npy``, with ``depth/depth.yaml``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mot_core.io.documents import read_yaml
from mot_core.io.images.pixels import opened_image
from mot_core.io.problems import require_file

DESCRIPTION = "depth.yaml"
EXTENSIONS = (".png", ".npy")
Kind = Literal["depth", "disparity"]


@dataclass(frozen=True)
class DepthFormat:
    """Content of a ``depth.yaml``.

    Attributes:
        kind: "depth" if larger values are farther, "disparity" if larger values are nearer.
        scale: Factor of the stored values.
        largest: Output of the depth model that the largest stored value stands for; None if unknown.
    """

    kind: Kind = "disparity"
    scale: float = 1.0
    largest: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: expected depth or disparity, got {self.kind!r}")
        numbers: dict[str, Any] = {"scale": self.scale, "largest": 1 if self.largest is None else self.largest}
        for name, value in numbers.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value <= 0:
                raise ValueError(f"{name}: expected a positive number, got {value!r}")


def depth_file(image_path: str | os.PathLike[str]) -> Path | None:
    """Return the depth map of an image in the folder ``depth`` next to that of the images, or None.

    >>> depth_file("MOT17/train/MOT17-02/img1/000001.jpg") is None
    True
    """
    path = Path(image_path)
    start = path.parent.parent / "depth" / path.stem
    found = (start.with_name(start.name + extension) for extension in EXTENSIONS)
    return next((one for one in found if one.is_file()), None)


def read_depth_format(folder: Path) -> DepthFormat | None:
    r"""Read the ``depth.yaml`` of a folder of depth maps; None if there is none.

    Raises:
        ValueError: If the file has unknown keys or invalid values.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "depth.yaml").write_text("kind: depth\nscale: 0.001\n")
    >>> read_depth_format(folder)
    DepthFormat(kind='depth', scale=0.001, largest=None)
    """
    path = folder / DESCRIPTION
    return _read_format(path, path.stat().st_mtime_ns) if path.exists() else None


@lru_cache(maxsize=4096)
def _read_format(path: Path, changed: int) -> DepthFormat:
    content = read_yaml(path)
    if not isinstance(content, dict) or not content.keys() <= {"kind", "scale", "largest"}:
        raise ValueError(f"{path}: expected the keys kind and scale, got {content!r}; correct the file")
    try:
        return DepthFormat(**content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; correct the file") from None


def read_depth(path: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
    r"""Read a depth map as ``(H, W)`` float32: stored values times the scale in ``depth.yaml``; NaN where unknown.

    A PNG of 8 bits needs no ``depth.yaml``: its values are disparities from 0 (far) to 255 (near).

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is neither a gray image nor a two-dimensional array of numbers, has negative or infinite
            values, or needs a scale that is not given.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "000001.npy", np.array([[1500, 3000]], np.uint16))
    >>> _ = (folder / "depth.yaml").write_text("kind: depth\nscale: 0.001\n")
    >>> read_depth(folder / "000001.npy")
    array([[1.5, 3. ]], dtype=float32)
    """
    file = Path(path)
    values = _read_array(file) if file.suffix == ".npy" else _read_image(file)
    described = read_depth_format(file.parent)
    if described is None and values.dtype != np.uint8:
        raise ValueError(
            f"depth map {path}: expected {DESCRIPTION} in its folder, because {values.dtype} values have no default "
            "scale; write the lines 'kind: depth' (or disparity) and 'scale: 0.001'"
        )
    scaled = (values * (1.0 if described is None else described.scale)).astype(np.float32)
    if bool((scaled < 0).any()) or bool(np.isinf(scaled).any()):
        raise ValueError(
            f"depth map {path}: expected values of at least 0, or NaN where unknown, got others; mask them"
        )
    return scaled


def _read_image(path: Path) -> npt.NDArray[Any]:
    with opened_image(path) as (image, upright):
        mode, pixels = image.mode, np.asarray(image)
    if mode != "L" and mode[0] != "I":
        raise ValueError(
            f"depth map {path}: expected a grayscale image, got mode {mode}; "
            "save the depth values, not a colored rendering of them"
        )
    return np.ascontiguousarray(upright(pixels))


def _read_array(path: Path) -> npt.NDArray[Any]:
    require_file(path, "depth map")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"depth map {path}: expected a file of numpy.save, got another ({error}); replace it"
        ) from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "uif":
        shape = getattr(values, "shape", type(values).__name__)
        raise ValueError(f"depth map {path}: expected an array (H, W) of numbers, got {shape}; save one map per file")
    return values
