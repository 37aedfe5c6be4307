"""Atomic files: complete or absent."""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

try:
    import fcntl
except ImportError:  # Windows: without locks, files of killed processes are kept
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


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


def save_atomic(content: Any, path: str | PathLike[str]) -> None:
    """Write a file with ``torch.save``; otherwise like :func:`atomic_path`.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "x.pt"
    >>> save_atomic({"step": 3}, path)
    >>> torch.load(path, weights_only=True)
    {'step': 3}
    """
    import torch

    # Given a name instead of a file, torch.save reports a full disk as a position in the file.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Yield a hidden file next to ``path`` that is renamed to ``path`` if the block ends without an exception.

    The content is flushed to disk before the file is renamed. On an exception, including ``KeyboardInterrupt``, the
    hidden file is removed and an existing file at ``path`` is kept. If the process is killed, the next writer of
    ``path`` removes its hidden file. Missing folders are created.

    Raises:
        OSError: If the folder cannot be created or written to, or its disk is full; the message names it.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder, expected a file name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(target.parent, f".{glob.escape(target.name)}.*.tmp")
        temporary, handle = _create(target)
    except OSError as error:
        raise _explained(error, target) from None
    try:
        yield temporary
        os.fsync(handle)
        if fcntl is None:
            os.close(handle)  # Windows cannot rename an open file
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL and error.filename in (None, str(temporary)):
            raise _explained(error, target) from None
        raise
    finally:
        with suppress(OSError):  # closed already on Windows
            os.close(handle)


def remove_stale(folder: Path, pattern: str) -> None:
    """Remove hidden files that a killed process left in ``folder``; those of running processes are kept.

    Args:
        folder: Folder to search.
        pattern: Glob pattern of the hidden files below ``folder``.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / ".out.txt.0123abcd.tmp").touch()
    >>> with open_atomic(folder / "b.txt"):
    ...     remove_stale(folder, ".*.tmp")
    ...     len(list(folder.iterdir()))  # the file of this process
    1
    """
    for path in folder.glob(pattern):
        if not TEMPORARY.fullmatch(path.name):
            continue
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:  # removed in the meantime, or of another user
            continue
        try:
            if _lock(handle, wait=False):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _create(target: Path) -> tuple[Path, int]:
    """Create a hidden file next to ``target`` and lock it; the system releases the lock when the process ends."""
    while True:
        # Next to the target, because a file can be moved atomically only within one file system.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _lock(handle, wait=True)
        if temporary.exists():  # otherwise another process removed it before it was locked
            return temporary, handle
        os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock an open file and return whether that succeeded."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # locked by another process, or the file system has no locks
        return False
    return True


def _explained(error: OSError, target: Path) -> OSError:
    """Return an error of the same type that names the file, and a full disk by its mount point."""
    if error.errno not in DISK_FULL:
        return type(error)(f"cannot write {target}: {error.strerror or error}; choose a folder that you may write to")
    disk = target.parent.resolve()
    free = shutil.disk_usage(disk).free / 1e6
    while not os.path.ismount(disk):
        disk = disk.parent
    earlier = "; the earlier file is unchanged" if target.exists() else ""
    return OSError(
        f"cannot write {target}: {error.strerror} on {disk} ({free:.0f} MB free){earlier}; free space there, or choose "
        "a folder on another disk"
    )
