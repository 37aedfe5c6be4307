"""Atomic files: complete or absent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TextIO


@contextmanager
def open_atomic(path: str | PathLike[str]) -> Iterator[TextIO]:
    """Open a text file for writing that appears under its name only if the block succeeds.

    Line endings are LF on every platform. Otherwise like :func:`atomic_path`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "out.txt"
    >>> with open_atomic(path) as file:
    ...     _ = file.write("text")
    ...     path.exists()
    False
    >>> path.read_text()
    'text'
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        yield file


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Yield a hidden file next to ``path`` that is renamed to ``path`` if the block ends without an exception.

    On an exception, including ``KeyboardInterrupt``, the hidden file is removed and an existing file at ``path`` is
    kept. Missing folders are created.

    Raises:
        OSError: If the folder cannot be created or written to; the message names it.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder, expected a file name")
    # Next to the target, because a file can be moved atomically only within one file system.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise type(error)(
            f"cannot write {target}: {error.strerror or error}; choose a folder that you may write to"
        ) from None
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
