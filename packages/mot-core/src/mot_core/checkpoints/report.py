"""Load a state dict under other key names, with a report on every key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from mot_core.checkpoints.file import read_file

Renaming = Sequence[tuple[str, str | None]]
"""Pairs of a regular expression and its replacement, applied in order; None drops the key."""


@dataclass(frozen=True)
class ImportReport:
    """Report on every key of an import.

    Attributes:
        used: Imported keys: original name to ours.
        unused: Ignored keys: original name to the reason.
        missing: Our keys that are absent from the checkpoint and optional; they keep their initial values.
        remade: Our keys with another shape in the checkpoint, mapped to both shapes; they keep their initial values.

    >>> report = ImportReport({"a.weight": "b.weight"}, {"step": "not a tensor"}, ("c.bias",), {})
    >>> print(report)
    1 key used, 1 unused, 1 missing, 0 re-made
    unused: step (not a tensor)
    missing: c.bias
    """

    used: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    remade: Mapping[str, str] = field(default_factory=dict)

    def within(self, prefix: str) -> ImportReport:
        """Return the report with ``prefix`` before all of our keys, for a part of a tracker.

        >>> ImportReport({"a": "b"}, missing=("c",)).within("detector.")
        ImportReport(used={'a': 'detector.b'}, unused={}, missing=('detector.c',), remade={})
        """
        return ImportReport(
            {theirs: f"{prefix}{ours}" for theirs, ours in self.used.items()},
            self.unused,
            tuple(f"{prefix}{name}" for name in self.missing),
            {f"{prefix}{name}": shapes for name, shapes in self.remade.items()},
        )

    def __str__(self) -> str:
        keys = "key" if len(self.used) == 1 else "keys"
        lines = [
            f"{len(self.used)} {keys} used, {len(self.unused)} unused, "
            f"{len(self.missing)} missing, {len(self.remade)} re-made",
            *(f"unused: {key} ({reason})" for key, reason in self.unused.items()),
            *(f"missing: {key}" for key in self.missing),
            *(f"re-made: {key} ({shapes})" for key, shapes in self.remade.items()),
        ]
        return "\n".join(lines)


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file without running any code in it.

    Args:
        path: ``torch.save`` file with a state dict, or with a dict that has one under "model" or "state_dict". The
            prefix "module." of DistributedDataParallel is removed.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it does not hold a state dict.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"model": {"module.a": torch.ones(1)}, "epoch": 3}, f"{folder}/x.pth")
    ...     read_state_dict(f"{folder}/x.pth")
    {'a': tensor([1.])}
    """
    return state_dict_in(read_file(path), path)


def state_dict_in(content: Any, path: str | PathLike[str]) -> dict[str, Tensor]:
    """Return the weights in the content of a checkpoint; see :func:`read_state_dict`."""
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f'{path} must hold a state dict, alone or under "model" or "state_dict"')
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def load_renamed(
    module: nn.Module,
    state: Mapping[str, Tensor],
    rename_key: Callable[[str], str | None],
    *,
    source: str,
    fresh: str = r"(?!)",
) -> ImportReport:
    r"""Load ``state`` into ``module`` after renaming its keys; if anything does not fit, nothing is loaded.

    Args:
        module: Module that receives the weights, in its own dtype and on its own device (those of the checkpoint if the
            module is on "meta").
        state: Original names and tensors.
        rename_key: Function from an original name to ours, or to None for keys that are not needed.
        source: Expected content of the checkpoint, for messages.
        fresh: Regular expression that matches the full names of our keys that may be missing or have another shape;
            these keep their current values.

    Raises:
        ValueError: If keys of the module are missing, shapes differ, or one of our keys comes from two different
            tensors.

    >>> layer = nn.Linear(2, 1)
    >>> old = {"fc.weight": torch.ones(1, 2), "fc.bias": torch.zeros(1), "step": torch.zeros(1)}
    >>> print(load_renamed(layer, old, lambda name: name.removeprefix("fc."), source="a layer"))
    2 keys used, 1 unused, 0 missing, 0 re-made
    unused: step (no such key in the model)
    """
    ours = module.state_dict()
    used: dict[str, str] = {}
    unused: dict[str, str] = {}
    remade: dict[str, str] = {}
    wrong: list[str] = []
    loaded: dict[str, Tensor] = {}
    for original, tensor in state.items():
        name = rename_key(original)
        if name is None:
            unused[original] = "not needed"
        elif name not in ours:
            unused[original] = "no such key in the model"
        elif tensor.shape != ours[name].shape:
            shapes = f"{tuple(tensor.shape)} in the checkpoint, {tuple(ours[name].shape)} in the model"
            if re.fullmatch(fresh, name):
                unused[original], remade[name] = "re-made", shapes
            else:
                wrong.append(f"{original} is {shapes}")
        elif name in loaded and loaded[name] is not tensor and not torch.equal(loaded[name], tensor):
            wrong.append(f"{original} and another key are both {name}, with different values")
        else:
            used[original], loaded[name] = name, tensor
    # Older checkpoints lack num_batches_tracked, which has no effect.
    absent = [
        name for name in ours if name not in loaded and name not in remade and not name.endswith("num_batches_tracked")
    ]
    wrong += [f"{name} is missing" for name in absent if not re.fullmatch(fresh, name)]
    wrong += [
        f'{name} has no fresh values, because it is on "meta"' for name in (*absent, *remade) if ours[name].is_meta
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ValueError(f"the checkpoint is not {source} of this architecture: {wrong[0]}{more}")
    with torch.no_grad():
        module.load_state_dict(
            {name: tensor.to(ours[name].dtype) for name, tensor in loaded.items()},
            strict=False,
            assign=any(tensor.is_meta for tensor in ours.values()),
        )
    return ImportReport(used, unused, tuple(absent), remade)


def rename(name: str, renaming: Renaming) -> str | None:
    r"""Return the new name of a key, or None if it is dropped.

    >>> rename("backbone.0.body.conv1.weight", [(r"^backbone\.0\.body\.", "backbone.")])
    'backbone.conv1.weight'
    """
    for pattern, replacement in renaming:
        if replacement is None:
            if re.search(pattern, name):
                return None
        else:
            name = re.sub(pattern, replacement, name)
    return name
