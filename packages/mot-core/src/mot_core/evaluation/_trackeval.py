"""Import of the ``trackeval`` package, which computes the metrics."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

from mot_core.extras import needs

FAMILIES = ("HOTA", "CLEAR", "Identity", "Count")
"""Metric families that are computed, with TrackEval's names."""


@cache
def trackeval_metrics() -> dict[str, Any]:
    """Return TrackEval's metric objects by family. They hold no state, so one of each suffices.

    Raises:
        ImportError: If the extra ``[eval]`` is not installed.
    """
    # TrackEval prints messages about optional packages on import; stdout is for results (--json -).
    with needs("trackeval", "eval", "scoring"), contextlib.redirect_stdout(io.StringIO()):
        from trackeval import metrics
    return {
        "HOTA": metrics.HOTA(),
        "CLEAR": metrics.CLEAR({"PRINT_CONFIG": False}),
        "Identity": metrics.Identity({"PRINT_CONFIG": False}),
        "Count": metrics.Count(),
    }
