"""The folder of a training: ``OUTPUT/version_N`` with config, metrics and checkpoints."""

from __future__ import annotations

import re
from pathlib import Path


def next_version(output: Path) -> Path:
    """The folder ``version_N`` of the next run; earlier runs in ``output`` are never touched.

    >>> next_version(Path("no/such/folder")).as_posix()
    'no/such/folder/version_0'
    """
    found = [re.fullmatch(r"version_(\d+)", path.name) for path in output.glob("version_*")]
    return output / f"version_{max((int(match[1]) for match in found if match), default=-1) + 1}"


def newest_checkpoint(output: Path) -> Path:
    """The newest ``last.ckpt`` of all runs in ``output``.

    Raises:
        FileNotFoundError: there is none.

    >>> newest_checkpoint(Path("no/such/folder"))
    Traceback (most recent call last):
    FileNotFoundError: there is no last checkpoint in no/such/folder/version_*/checkpoints; give its file, or the ...
    """
    found = list(output.glob("version_*/checkpoints/last.ckpt"))
    if not found:
        raise FileNotFoundError(
            f"there is no last checkpoint in {output.as_posix()}/version_*/checkpoints; give its file, or the --output "
            "of the training to go on with"
        )
    return max(found, key=lambda path: path.stat().st_mtime)
