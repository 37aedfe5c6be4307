"""Date, commit and machine of a measurement, stored in every result file."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS_FOLDER = ROOT / "benchmarks" / "results"
"""Results by topic: ``<topic>/<name>.json``, overwritten, or ``.jsonl``, a line per run."""
TESTS = ROOT / "tests"
BENCHMARKS = "benchmarks/*.py"
SOURCES = "packages/mot-core/src/mot_core"


def provenance(*measured: str) -> dict[str, Any]:
    """Return date, commit and machine.

    Args:
        measured: Paths in the repository whose uncommitted changes are reported with the commit, in addition to the
            scripts of this folder.
    """
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(ROOT, *measured, BENCHMARKS),
        "machine": _machine(),
    }


def commit(root: Path, *measured: str) -> str:
    """Return the short hash of a checkout, marked if ``measured`` paths have changes; "unknown" without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if not (root / ".git").exists():
        return "unknown"
    changed = git("status", "--porcelain", "--", *measured)
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}
