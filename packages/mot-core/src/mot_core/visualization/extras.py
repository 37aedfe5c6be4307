"""Optional packages that pictures need."""

from __future__ import annotations

from importlib import import_module

MODULES = {"plot": ("matplotlib", "PIL"), "video": ("av", "PIL")}


def require(extra: str) -> None:
    """Import the packages of an extra of mot-core, or raise an error that states how to install it.

    Args:
        extra: "plot" or "video".

    Raises:
        ModuleNotFoundError: If a package of the extra is missing.
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
