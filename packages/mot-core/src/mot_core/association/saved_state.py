"""Validation of the saved state of one stream of an online tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def read_stream(name: object, saved: Any, row_counts: tuple[int, int]) -> dict[str, Any]:
    """Return the fields of a saved stream as independent arrays and numbers.

    Args:
        name: Name of the stream, for messages.
        saved: Its entry in ``state_dict()["streams"]``.
        row_counts: Expected number of rows of ``values`` and ``labels``.

    Raises:
        ValueError: If a field is missing, has another type, is not finite or does not fit the others.
    """
    place = f"the state of stream {name!r}"
    values = _array(saved, "values", place, np.float64)
    labels = _array(saved, "labels", place, np.int64)
    embeddings = None
    if isinstance(saved, Mapping) and saved.get("embeddings") is not None:
        embeddings = _array(saved, "embeddings", place, np.float64)
    if (len(values), len(labels)) != row_counts:
        raise ValueError(
            f"{place} has {len(values)} + {len(labels)} rows, expected "
            f"{' + '.join(map(str, row_counts))}; it was saved with other parameters"
        )
    counts = {values.shape[1], labels.shape[1]} | (set() if embeddings is None else {len(embeddings)})
    if len(counts) > 1:
        raise ValueError(f"{place}: expected as many tracks in all arrays, got {sorted(counts)}")
    numbers: dict[str, Any] = {key: _number(saved, key, place, int) for key in ("next_id", "step")}
    numbers["clock"] = _number(saved, "clock", place, float)
    numbers["timestamp"] = None if saved.get("timestamp") is None else _number(saved, "timestamp", place, float)
    return {"values": values, "labels": labels, "embeddings": embeddings, **numbers}


def _array(saved: Any, key: str, place: str, dtype: type[np.generic]) -> Any:
    import torch

    value = saved.get(key) if isinstance(saved, Mapping) else None
    if not isinstance(value, torch.Tensor) or value.ndim != 2 or value.numpy().dtype != dtype:
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{place}: {key}: expected a matrix of {dtype.__name__}, got {got}")
    array = value.numpy().copy()
    if not np.isfinite(array).all():
        raise ValueError(f"{place}: {key}: expected finite numbers, got NaN or infinity")
    return array


def _number(saved: Mapping[str, Any], key: str, place: str, kind: type) -> Any:
    value = saved.get(key)
    kinds = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not np.isfinite(value):
        raise ValueError(f"{place}: {key}: expected a finite {kind.__name__}, got {value!r}")
    return value
