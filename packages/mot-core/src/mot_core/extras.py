"""Optional dependencies: one sentence with the pip command if a package of an extra is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

MODULES = {"plot": ("matplotlib", "PIL"), "video": ("av", "PIL")}
"""Modules that an extra of mot-core installs, for :func:`require`."""


@contextmanager
def needs(module: str, extra: str, purpose: str, package: str = "mot-core") -> Iterator[None]:
    """Import an optional module inside the block, or raise an error that names the pip command.

    Args:
        module: Module that the block imports.
        extra: Extra that installs it.
        purpose: Feature that needs it, the subject of the message.
        package: Package of this repository that has the extra.

    Raises:
        ModuleNotFoundError: If the module is not installed. Errors of other modules pass through.

    >>> with needs("no_such_library", "train", "training"):
    ...     import no_such_library
    Traceback (most recent call last):
    ModuleNotFoundError: training needs no_such_library: pip install './packages/mot-core[train]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs {module}: pip install './packages/{package}[{extra}]'", name=module
        ) from error


def require(extra: str, purpose: str) -> None:
    """Check that everything an extra of mot-core installs can be imported.

    Args:
        extra: ``"plot"`` or ``"video"``.
        purpose: Feature that needs it, the subject of the message.

    Raises:
        ModuleNotFoundError: If a module of the extra is missing.

    >>> require("plot", "drawing")
    """
    for module in MODULES[extra]:
        with needs(module, extra, purpose):
            import_module(module)
