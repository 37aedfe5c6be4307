"""The door to the ``trackeval`` package, which holds the mathematics of the metrics."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

from mot_core.extras import needs

FAMILIES = ("HOTA", "CLEAR", "Identity", "Count")
"""The groups of numbers that are computed, by TrackEval's names."""


@cache
def trackeval_metrics() -> dict[str, Any]:
    """TrackEval's metric objects by family. They hold no state, so one of each is enough.

    Raises:
        ImportError: if the extra ``[eval]`` is not installed.
    """
    # TrackEval prints about optional packages when it is imported; stdout is for results (--json -).
    with needs("trackeval", "eval", "scoring"), contextlib.redirect_stdout(io.StringIO()):
        from trackeval import metrics
    return {
        "HOTA": metrics.HOTA(),
        "CLEAR": metrics.CLEAR({"PRINT_CONFIG": False}),
        "Identity": metrics.Identity({"PRINT_CONFIG": False}),
        "Count": metrics.Count(),
    }
