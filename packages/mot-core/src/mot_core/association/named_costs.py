"""Association costs by name, as on the command line: built-in ones, and learned ones of installed packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from mot_core.association.costs import AssociationCost, iou_cost, pixel_iou_cost

GROUP = "mot_core.costs"
"""Entry-point group of learned costs: callables that take the path of a file and return an association cost."""

BUILT_IN: dict[str, AssociationCost] = {"iou": iou_cost, "pixel_iou": pixel_iou_cost}


def installed_costs() -> dict[str, EntryPoint]:
    """Return the learned costs of installed packages by name, without importing them.

    >>> all(point.group == "mot_core.costs" for point in installed_costs().values())
    True
    """
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def read_cost(text: str) -> AssociationCost:
    """Return the association cost that ``text`` names.

    Args:
        text: "iou", "pixel_iou" (see :func:`pixel_iou_cost`), or ``NAME:FILE`` for a learned cost of an installed
            package, such as ``lamotr:cost.pt``.

    Raises:
        ValueError: If no cost has this name, its package cannot be loaded, or the file is invalid.
        FileNotFoundError: If the file does not exist.

    >>> read_cost("iou") is iou_cost
    True
    """
    if text in BUILT_IN:
        return BUILT_IN[text]
    name, _, path = text.partition(":")
    installed = installed_costs()
    if name not in installed or not path:
        choices = [*BUILT_IN, *(f"{one}:FILE" for one in installed)]
        raise ValueError(f"cost: expected {' or '.join(choices)}, got {text!r}")
    point = installed[name]
    try:
        factory = point.load()
    except Exception as error:  # a package may raise anything; report which one failed
        package = f" of package {point.dist.name}" if point.dist else ""
        raise ValueError(
            f"cost: {name} ({point.value}{package}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    cost: AssociationCost = factory(path)
    return cost
