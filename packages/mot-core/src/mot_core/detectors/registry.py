"""Detectors by name: installed kinds, found by entry point, and callables of Python modules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from mot_core.detectors.protocol import Detector
from mot_core.suggestions import suggest_name

GROUP = "mot_core.detectors"


def installed_detectors() -> dict[str, EntryPoint]:
    """Return the entry points of all kinds of detectors by name, without importing them.

    >>> installed_detectors()["onnx"].value
    'mot_core.detectors.onnx_runtime:OnnxDetector'
    """
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def load_detector(name: str, **options: Any) -> Detector:
    """Build the detector ``KIND:ARGUMENT``.

    Args:
        name: ``onnx:FILE``, ``transformers:FOLDER``, another installed kind, or ``module:callable``: a function
            with the protocol of :class:`Detector`, or a class of such objects. Modules in the current folder are found.
        options: Further arguments of the kind, such as ``layout`` of ``onnx``.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ModuleNotFoundError: If a library is missing that the kind needs.
        ValueError: If there is no such kind or module, or it cannot be loaded.

    >>> load_detector("onxx:model.onnx")
    Traceback (most recent call last):
    ValueError: detector: expected KIND:ARGUMENT or module:callable, got 'onxx:model.onnx'; did you mean onnx?
    """
    kind, colon, argument = name.partition(":")
    kinds = installed_detectors()
    if not (colon and argument):
        raise _unknown(name, kinds)
    point = kinds.get(kind)
    if point is None:
        found = _from_module(name, kind, argument, kinds)
        return cast(Detector, found(**options) if isinstance(found, type) else found)
    try:
        factory = point.load()
    except ModuleNotFoundError:
        raise
    except Exception as error:  # a package may raise anything; report which one failed
        package = f" of package {point.dist.name}" if point.dist else ""
        raise ValueError(
            f"detector: {kind} ({point.value}{package}) cannot be loaded: {type(error).__name__}: {error}; "
            f"other kinds: {', '.join(other for other in kinds if other != kind)}"
        ) from error
    return cast(Detector, factory(argument, **options))


def _from_module(name: str, module: str, attribute: str, kinds: Mapping[str, EntryPoint]) -> Any:
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        imported = import_module(module)
    except (ModuleNotFoundError, ValueError, TypeError) as error:  # TypeError for relative names
        if isinstance(error, ModuleNotFoundError) and error.name not in (module, module.partition(".")[0]):
            raise
        raise _unknown(name, kinds) from None
    finally:
        if added:
            sys.path.remove(folder)
    found = getattr(imported, attribute, None)
    if not callable(found):
        names = [one for one, value in vars(imported).items() if callable(value) and not one.startswith("_")]
        hint = suggest_name(attribute, names) if names else "define one that takes a list of images"
        raise ValueError(f"detector: expected a callable {attribute} in {imported.__name__}, found none; {hint}")
    return found


def _unknown(name: str, kinds: Mapping[str, EntryPoint]) -> ValueError:
    kind = name.partition(":")[0]
    if kind in kinds:
        return ValueError(f"detector: expected {kind}:ARGUMENT, got {name!r}; add its file or folder after the colon")
    hint = suggest_name(kind, kinds, "installed kinds")
    return ValueError(f"detector: expected KIND:ARGUMENT or module:callable, got {name!r}; {hint}")
