"""Reading of checkpoint files: verified, finite, and without running any code in them."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WEIGHTS = ("state_dict", "model", "optimizer_states")
"""Entries whose tensors must be finite; others, such as the best score of a callback, may be infinite."""

LIGHTNING = "pytorch-lightning_version"
FIELDS: dict[str, tuple[type, str]] = {
    "state_dict": (Mapping, "a mapping"),
    "tracker": (Mapping, "a mapping"),
    "loops": (Mapping, "a mapping"),
    "callbacks": (Mapping, "a mapping"),
    "optimizer_states": (list, "a list"),
    "lr_schedulers": (list, "a list"),
    "epoch": (int, "an integer"),
    "global_step": (int, "an integer"),
    LIGHTNING: (str, "a string"),
}
"""Entries of a Lightning checkpoint, with their types."""

OTHER = "copy the file again, or use another checkpoint"
DIRECTORY = 0x10  # attribute in the index of a zip archive
GLOBAL = re.compile(r"\bGLOBAL (\S+)")


def read_file(path: str | PathLike[str]) -> Any:
    """Return the content of a ``torch.save`` file without running any code in it. All readers of checkpoints use this.

    ``torch.load`` does not verify the CRC-32 checksums that ``torch.save`` stores for the pickle and for every tensor;
    this does. Files in the format before PyTorch 1.6 have no checksums.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is empty, damaged or not a checkpoint, holds objects other than tensors and plain values, or
            weights that are not finite.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist or is not a file")
    _verify(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol of files that are no checkpoints
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for broken or foreign files
        if code := GLOBAL.search(str(error)):
            raise ValueError(
                f"{path}: expected tensors and plain values, got a pickled {code[1]}, which could run code; if you "
                "trust the file, load it in your own code and save only its state dict"
            ) from error
        raise ValueError(f"{path}: expected a checkpoint written by PyTorch, got another kind of file") from error
    _check_finite(content, path)
    return content


def read_checkpoint(path: str | PathLike[str], *required: str) -> dict[str, Any]:
    """Read a file of ``mot fit``, ``mot import`` or another Lightning checkpoint with :func:`read_file`.

    Args:
        path: Checkpoint file.
        required: Names of entries that it must have.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or holds something else.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.ckpt"
    >>> torch.save({"pytorch-lightning_version": "2.5", "state_dict": {}, "epoch": "three"}, path)
    >>> read_checkpoint(path)
    Traceback (most recent call last):
    ValueError: ...x.ckpt: epoch: expected an integer, got str; use a file written by mot fit or mot import
    """
    content = read_file(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a checkpoint, got {type(content).__name__}")
    if missing := [name for name in required if name not in content]:
        raise ValueError(
            f"{path}: expected a checkpoint with {' and '.join(required)}, got one without {' and '.join(missing)}; "
            "convert released weights of other projects with mot import, and start training from them with --init"
        )
    ours = LIGHTNING in content or "tracker" in content  # other projects use the same names for other things
    for name, (kind, expected) in FIELDS.items():
        if ours and name in content and not isinstance(content[name], kind):
            raise ValueError(
                f"{path}: {name}: expected {expected}, got {type(content[name]).__name__}; use a file written by "
                "mot fit or mot import"
            )
    for name in content.get("state_dict", {}) if ours else ():
        if not isinstance(name, str):
            raise ValueError(f"{path}: state_dict: expected names of weights, got {name!r} as a name")
    return content


def _verify(path: Path) -> None:
    """Check that a file is complete and unchanged, as far as its format allows."""
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise ValueError(f"{path}: expected a checkpoint, got an empty file; {OTHER}")
    if start != b"PK" and not zipfile.is_zipfile(path):
        return  # the old format, or no checkpoint
    try:
        with zipfile.ZipFile(path) as archive:
            # PyTorch skips records that are marked as directories and returns uninitialized memory for them.
            marked = (record.filename for record in archive.infolist() if record.external_attr & DIRECTORY)
            damaged = next(marked, None) or archive.testzip()
    except Exception as error:  # zipfile raises many types for damaged files
        raise ValueError(f"{path}: expected a checkpoint, got an incomplete or damaged file; {OTHER}") from error
    if damaged:
        raise ValueError(
            f"{path}: expected a checkpoint, got a damaged file (wrong checksum of {damaged.partition('/')[2]}); "
            f"{OTHER}"
        )


def _check_finite(content: Any, path: str | PathLike[str]) -> None:
    parts = content
    if isinstance(content, Mapping):
        parts = {name: content[name] for name in WEIGHTS if name in content} or content
    for name, tensor in _tensors(parts, ""):
        if not _is_finite(tensor):
            raise ValueError(
                f"{path}: {name}: expected finite weights, got NaN or infinity; use a checkpoint from before training "
                "diverged, and train with a lower learning rate or gradient clipping"
            )


def _tensors(content: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, Mapping | list | tuple):
        for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.layout is not torch.strided or not tensor.numel():
        return True
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        tensor = tensor.new_empty(0).set_(tensor.untyped_storage())  # an expanded tensor may not fit in memory
    # One pass without a copy; 8-bit floats have no extrema.
    low, high = torch.aminmax(tensor if tensor.element_size() > 1 else tensor.float())
    return bool(torch.isfinite(low) and torch.isfinite(high))
