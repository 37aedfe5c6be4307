"""Loading a state dict under other names, with a report of every key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Renaming = Sequence[tuple[str, str | None]]
"""Pairs of a regular expression and what replaces it, applied one after the other; None drops the key."""


@dataclass(frozen=True)
class ImportReport:
    """What became of every key.

    Attributes:
        used: original key to ours.
        unused: original key to the reason.
        missing: our keys that the checkpoint does not have and need not have; they keep their fresh values.
        remade: our keys that have another shape in the checkpoint and keep their fresh values, to both shapes.

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


def read_file(path: str | PathLike[str]) -> Any:
    """All that a file of ``torch.save`` holds, without running any code in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist or is not a file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or foreign file makes torch raise
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is not a checkpoint that can be read with weights_only=True: {reason}") from error


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint file, without running any code that it may hold.

    Args:
        path: file of ``torch.save``: a state dict, or a dict that has one under "model" or "state_dict". The prefix
            "module." of DistributedDataParallel is removed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"model": {"module.a": torch.ones(1)}, "epoch": 3}, f"{folder}/x.pth")
    ...     read_state_dict(f"{folder}/x.pth")
    {'a': tensor([1.])}
    """
    content = read_file(path)
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
    r"""Loads ``state`` into ``module`` after renaming its keys; nothing is loaded when it does not fit.

    Args:
        module: gets the weights, in its own dtype and on its own device (those of the checkpoint where it is on
            "meta").
        state: original names and tensors.
        rename_key: an original name to ours, or None when the key is not needed.
        source: what the checkpoint should be, for messages.
        fresh: regular expression of our keys (in full) that may be missing or have another shape: these keep the values
            that they have.

    Raises:
        ValueError: keys of the module are missing, shapes differ, or one key of ours comes from two different tensors.

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
    # The counter of batches came late to PyTorch and decides nothing.
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
    r"""One key under its new name, or None when it is dropped.

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
