"""Griffe extension, used in mkdocs.yml, that renders doctests in docstrings as code blocks."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*\n?(?:^(?!\s*$).*\n?)*", re.MULTILINE)


class FenceDoctests(griffe.Extension):
    """Fence every doctest, from a line that starts with ``>>>`` to the next empty line."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the doctests in the docstring of an object; griffe calls this after reading it."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(lambda run: f"```pycon\n{run[0].rstrip()}\n```\n", obj.docstring.value)
