"""Box coordinates used by the filters: conversion from corners to measurements and back, all ``(4, N)``."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Layout(Protocol):
    """The four numbers that describe a box inside the filter."""

    def measure(self, boxes: Floats) -> Floats:
        """Convert corners ``(4, N)`` to filter coordinates ``(4, N)``."""

    def corners(self, state: Floats) -> Floats:
        """Convert filter coordinates ``(4, N)`` to corners ``(4, N)``."""

    def heights(self, state: Floats) -> Floats:
        """Return the scale of the motion noise in pixels: heights ``(N,)``, or a scale per coordinate ``(4, N)``."""


class CenterAspectHeight:
    """Center x, center y, width / height, height (ByteTrack).

    >>> CenterAspectHeight().measure(np.array([[0.0], [0.0], [2.0], [4.0]])).ravel()
    array([1. , 2. , 0.5, 4. ])
    """

    def measure(self, boxes: Floats) -> Floats:
        """Convert corners to center, aspect ratio and height."""
        out = np.empty((4, boxes.shape[1]))
        size = boxes[2:] - boxes[:2]
        np.multiply(size, 0.5, out=out[:2])
        out[:2] += boxes[:2]
        np.divide(size[0], size[1], out=out[2])
        out[3] = size[1]
        return out

    def corners(self, state: Floats) -> Floats:
        """Convert center, aspect ratio and height to corners."""
        half = np.empty((2, state.shape[1]))
        np.multiply(state[3], 0.5, out=half[1])
        np.multiply(half[1], state[2], out=half[0])
        out = np.empty((4, state.shape[1]))
        np.subtract(state[:2], half, out=out[:2])
        np.add(state[:2], half, out=out[2:])
        return out

    def heights(self, state: Floats) -> Floats:
        """Return the fourth coordinate."""
        return state[3]


class CenterAreaAspect:
    """Center x, center y, area, width / height (SORT and OC-SORT).

    >>> CenterAreaAspect().measure(np.array([[0.0], [0.0], [2.0], [4.0]])).ravel()
    array([1. , 2. , 8. , 0.5])
    """

    def measure(self, boxes: Floats) -> Floats:
        """Convert corners to center, area and aspect ratio."""
        out = np.empty((4, boxes.shape[1]))
        size = boxes[2:] - boxes[:2]
        np.multiply(size, 0.5, out=out[:2])
        out[:2] += boxes[:2]
        np.multiply(size[0], size[1], out=out[2])
        np.divide(size[0], size[1], out=out[3])
        return out

    def corners(self, state: Floats) -> Floats:
        """Convert center, area and aspect ratio to corners."""
        half = np.empty((2, state.shape[1]))
        np.sqrt(state[2] * state[3], out=half[0])
        np.divide(state[2], half[0], out=half[1])
        half *= 0.5
        out = np.empty((4, state.shape[1]))
        np.subtract(state[:2], half, out=out[:2])
        np.add(state[:2], half, out=out[2:])
        return out

    def heights(self, state: Floats) -> Floats:
        """Return the square root of area / aspect ratio."""
        return np.sqrt(state[2] / state[3])


class CenterSize:
    """Center x, center y, width, height (BoT-SORT, C-BIoU); noise of each coordinate scales with width or height.

    >>> CenterSize().measure(np.array([[0.0], [0.0], [2.0], [4.0]])).ravel()
    array([1., 2., 2., 4.])
    """

    def measure(self, boxes: Floats) -> Floats:
        """Convert corners to center and size."""
        size = boxes[2:] - boxes[:2]
        return np.concatenate([boxes[:2] + 0.5 * size, size])

    def corners(self, state: Floats) -> Floats:
        """Convert center and size to corners."""
        half = 0.5 * state[2:]
        return np.concatenate([state[:2] - half, state[:2] + half])

    def heights(self, state: Floats) -> Floats:
        """Return the scales ``(4, N)`` of the noise: width for x and width, height for y and height."""
        return np.concatenate([state[2:], state[2:]])
