"""Files that appear complete or not at all, and the sentence for a missing extra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

MODULES = {"plot": ("matplotlib", "PIL"), "video": ("av", "PIL")}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` that takes its name when the block ends well, and goes when it does not."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def require(extra: str) -> None:
    """Import what an extra of mot-core brings, or say in a sentence how to install it.

    Args:
        extra: ``"plot"`` or ``"video"``.

    Raises:
        ModuleNotFoundError: if a package of the extra is missing.
    """
    try:
        for module in MODULES[extra]:
            import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"pictures need {error.name or error}, which is not installed; "
            f"run: pip install './packages/mot-core[{extra}]'",
            name=error.name,
        ) from error
