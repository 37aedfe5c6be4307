"""Weights of convolutions in a TensorFlow.js graph model: ``NAME.json`` and its binary files."""

from __future__ import annotations

import json
import math
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1", "bool": "u1"}

Convolution = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Weight ``(out, in, height, width)`` and bias ``(out,)``."""


def read_convolutions(path: str | PathLike[str]) -> list[Convolution]:
    """Read weight and bias of every convolution of a TensorFlow.js graph model, numbered as in the graph.

    Nothing in the files is executed.

    Args:
        path: The JSON file; the binary files that it lists are next to it.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the file is not a graph model, or a binary file has another length than its weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the JSON file of a TensorFlow.js graph model, found none")
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
        nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        values = _read_values(path.parent, model["weightsManifest"])
        found = {}
        for node in nodes.values():
            # A bias is added by a node of its own.
            source = nodes.get(node["input"][0]) if node["op"] in ("Add", "AddV2", "BiasAdd") else None
            if source is not None and source["op"] == "Conv2D":
                weight, bias = values[source["input"][1]], values[node["input"][1]]
                if weight.ndim != 4 or bias.shape != weight.shape[3:]:
                    raise ValueError(f"a convolution {weight.shape} with a bias {bias.shape}")
                found[_number(source["name"])] = (np.ascontiguousarray(weight.transpose(3, 2, 0, 1)), bias)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a TensorFlow.js graph model, got {type(error).__name__}: {error}; copy the JSON file "
            "and its .bin files again"
        ) from error
    return [found[number] for number in sorted(found)]


def _read_values(folder: Path, manifest: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights by name, as float32."""
    values = {}
    for group in manifest:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        position = 0
        for entry in group["weights"]:
            stored = entry.get("quantization", entry)["dtype"]
            if stored not in DTYPES or "scale" in entry.get("quantization", {}):
                raise ValueError(f"weights stored as {stored} with a scale" if stored in DTYPES else f"dtype {stored}")
            dtype, count = np.dtype(DTYPES[stored]), math.prod(entry["shape"])
            values[entry["name"]] = (
                np.frombuffer(data, dtype, count, position).reshape(entry["shape"]).astype(np.float32)
            )
            position += count * dtype.itemsize
        if position != len(data):
            raise ValueError(f"{len(data)} bytes of weights instead of {position}")
    return values


def _number(name: str) -> int:
    """Return the number at the end of a name of TensorFlow, which leaves out 0.

    >>> _number("PartitionedCall/convolution"), _number("PartitionedCall/convolution_12")
    (0, 12)
    """
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0
