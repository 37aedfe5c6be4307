"""Files that are there completely or not at all."""

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
    """Open a text file for writing that appears under its name only when the block ends well.

    Line ends are LF everywhere. Otherwise as ``atomic_path``.

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
    """A hidden file beside ``path`` to write to, which takes its name when the block ends without an exception.

    On an exception, ``KeyboardInterrupt`` included, the hidden file is removed, and what was at ``path`` before stays
    as it was. Missing folders are made.

    Raises:
        OSError: the folder cannot be made or written to; the message names it.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder, expected a file name")
    # Beside the target, because a file can only be moved in one step within a file system.
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
