"""What is not installed, in one sentence with the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs(module: str, extra: str, purpose: str) -> Iterator[None]:
    """Import a library of an extra in the block.

    Args:
        module: the library.
        extra: of mot-core, which brings it.
        purpose: what cannot be done without it.

    Raises:
        ImportError: it is not installed. What it lacks itself keeps its own error.

    >>> with needs("no_such_library", "train", "training"):
    ...     import no_such_library
    Traceback (most recent call last):
    ImportError: training needs no_such_library: pip install './packages/mot-core[train]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(f"{purpose} needs {module}: pip install './packages/mot-core[{extra}]'") from error
