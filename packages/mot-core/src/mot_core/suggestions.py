"""The nearest valid name, for error messages about a misspelled one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST_LISTED = 40
"""With more valid names, a message does not list them."""


def suggest_name(name: str, known: Iterable[str], title: str = "available") -> str:
    """Return a remedy for an unknown name: the nearest valid one, or the list of all.

    Args:
        name: Name that is not valid.
        known: Valid names.
        title: Start of the list of all names.

    >>> suggest_name("ByteTrak", ["sort", "bytetrack"])
    'did you mean bytetrack?'
    >>> suggest_name("xyz", ["sort", "bytetrack"], "installed trackers")
    'installed trackers: sort, bytetrack'
    """
    names = list(known)
    by_lower = {one.lower(): one for one in reversed(names)}
    close = get_close_matches(name.lower(), by_lower, 1)
    if close:
        return f"did you mean {by_lower[close[0]]}?"
    if len(names) > MOST_LISTED:
        return f"none of the {len(names)} valid names is similar"
    return f"{title}: {', '.join(names) or 'none'}"
