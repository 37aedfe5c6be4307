"""An extension of griffe for mkdocs.yml: doctests in docstrings become blocks of code on the reference page."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*\n?(?:^(?!\s*$).*\n?)*", re.MULTILINE)


class FenceDoctests(griffe.Extension):
    """Put every run of lines that starts with ``>>>`` and ends at an empty line between fences."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object once it is read."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(lambda run: f"```pycon\n{run[0].rstrip()}\n```\n", obj.docstring.value)
