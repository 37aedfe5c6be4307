"""Motion of the camera between two frames, as a function or a text file of affine transforms."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mot_core.association.kalman import PP, PV, VV, P, V

Floats = npt.NDArray[np.float64]
CameraMotion: TypeAlias = Callable[[int], npt.ArrayLike]
"""Function from a frame number to the affine transform ``(2, 3)`` of the frame before to this frame, in pixels."""

COLUMNS = "frame,a11,a12,a13,a21,a22,a23"


def read_camera_motion(path: str | PathLike[str]) -> CameraMotion:
    """Read a file with one line ``frame,a11,a12,a13,a21,a22,a23`` per frame.

    A point ``(x, y)`` of the frame before is at ``(a11 x + a12 y + a13, a21 x + a22 y + a23)`` in this frame, in
    pixels. Frames without a line have no camera motion.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line does not have seven finite numbers, the transform is singular, or a frame occurs twice.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "camera.txt"
    >>> _ = path.write_text("2,1,0,-5.5,0,1,0")
    >>> camera = read_camera_motion(path)
    >>> camera(2)[0].tolist(), camera(3)[0].tolist()
    ([1.0, 0.0, -5.5], [1.0, 0.0, 0.0])
    """
    transforms: dict[int, Floats] = {}
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a file with lines {COLUMNS}, found none; check the path")
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, *values = (float(cell) for cell in line.split(","))
            transform = np.array(values).reshape(2, 3)
            invalid = not frame.is_integer() or not np.isfinite(transform).all()
        except ValueError:
            invalid = True
        if invalid or np.linalg.det(transform[:, :2]) <= 0:
            raise ValueError(
                f"{path}:{number}: expected numbers {COLUMNS} of an invertible transform, got {line.strip()!r}; "
                "write one line per frame"
            )
        if int(frame) in transforms:
            raise ValueError(f"{path}:{number}: expected each frame once, got {int(frame)} again; remove one line")
        transforms[int(frame)] = transform
    still = np.eye(2, 3)
    return lambda frame: transforms.get(frame, still)


def move_camera(block: Floats, transform: npt.ArrayLike) -> None:
    """Apply an affine transform to filter blocks ``(20, N)`` of center, width and height, in place.

    With the linear part ``M`` and the translation ``T`` (Aharon et al. 2022, arXiv:2206.14651)::

        center' = M center + T,   size' = M size,   velocity' = M velocity,   cov' = M cov M^T

    The filter has no covariance between x and y, so of ``cov'`` only the diagonal is kept: exact for scale and
    translation, and up to the off-diagonal terms for a rotation.

    Args:
        block: Filter blocks, see :class:`mot_core.association.BatchedKalman`.
        transform: Affine transform of shape ``(2, 3)``.

    Raises:
        ValueError: If the transform has another shape or is not finite.

    >>> block = np.zeros((20, 1))
    >>> block[:4, 0] = 10, 20, 4, 8
    >>> move_camera(block, [[2, 0, 1], [0, 2, 0]])
    >>> block[:4, 0]
    array([21., 40.,  8., 16.])
    """
    affine = np.asarray(transform, np.float64)
    if affine.shape != (2, 3) or not np.isfinite(affine).all():
        raise ValueError(
            f"camera: expected a finite affine transform of shape (2, 3), got {affine.tolist()}; "
            "return [[1, 0, 0], [0, 1, 0]] for a still camera"
        )
    linear = affine[:, :2]
    for rows in (P, V):
        block[rows] = (linear @ block[rows].reshape(2, 2, -1)).reshape(4, -1)
    block[:2] += affine[:, 2:]
    for rows in (PP, PV, VV):
        block[rows] = (linear**2 @ block[rows].reshape(2, 2, -1)).reshape(4, -1)
