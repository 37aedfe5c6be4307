"""Import of the ``trackeval`` package, which computes the metrics."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

FAMILIES = ("HOTA", "CLEAR", "Identity", "Count")
"""Metric families that are computed, with TrackEval's names."""


@cache
def trackeval_metrics() -> dict[str, Any]:
    """Return TrackEval's metric objects by family. They hold no state, so one of each suffices.

    Raises:
        ImportError: If the extra ``[eval]`` is not installed.
    """
    try:
        # TrackEval prints messages about optional packages on import; stdout is for results (--json -).
        with contextlib.redirect_stdout(io.StringIO()):
            from trackeval import metrics
    except ModuleNotFoundError as error:
        if error.name != "trackeval":
            raise
        raise ImportError("scoring needs trackeval; run: pip install './packages/mot-core[eval]'") from error
    return {
        "HOTA": metrics.HOTA(),
        "CLEAR": metrics.CLEAR({"PRINT_CONFIG": False}),
        "Identity": metrics.Identity({"PRINT_CONFIG": False}),
        "Count": metrics.Count(),
    }
