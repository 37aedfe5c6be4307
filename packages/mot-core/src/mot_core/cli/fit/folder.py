"""Folder of a training run: ``OUTPUT/version_N`` with config, metrics and checkpoints."""

from __future__ import annotations

import re
from pathlib import Path


def next_version(output: Path) -> Path:
    """Return the folder ``version_N`` of the next run, after all earlier runs in ``output``.

    >>> next_version(Path("no/such/folder")).as_posix()
    'no/such/folder/version_0'
    """
    found = [re.fullmatch(r"version_(\d+)", path.name) for path in output.glob("version_*")]
    return output / f"version_{max((int(match[1]) for match in found if match), default=-1) + 1}"


def newest_checkpoint(output: Path) -> Path:
    """Return the newest ``last.ckpt`` of all runs in ``output``.

    Raises:
        FileNotFoundError: If no run has one.

    >>> newest_checkpoint(Path("no/such/folder"))
    Traceback (most recent call last):
    FileNotFoundError: --ckpt_path last: expected a checkpoint in no/such/folder/version_*/checkpoints, found none; ...
    """
    found = list(output.glob("version_*/checkpoints/last.ckpt"))
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: expected a checkpoint in {output.as_posix()}/version_*/checkpoints, found none; "
            "pass a file, or the --output of the run to resume"
        )
    return max(found, key=lambda path: path.stat().st_mtime)
