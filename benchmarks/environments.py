"""One environment per peer, built from its requirements file, since some exclude each other (NumPy 1 and 2)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".nox" / "peers"


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment."""
    return ENVIRONMENTS / peer / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(peer: str) -> str | None:
    """Build the environment of ``peer`` unless it exists; return the reason of a failure, or None."""
    requirements = PEERS / f"{peer}.txt"
    folder, stamp = ENVIRONMENTS / peer, ENVIRONMENTS / peer / "installed.txt"
    if stamp.is_file() and stamp.read_text() == requirements.read_text():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    python = str(python_of(peer))
    if uv := shutil.which("uv"):
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
        fill = [uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements)]
    else:
        make = [sys.executable, "-m", "venv", str(folder)]
        fill = [python, "-m", "pip", "install", "--quiet", "-r", str(requirements)]
    env = dict(os.environ)
    if links := env.get("PIP_FIND_LINKS"):
        env.setdefault("UV_FIND_LINKS", ",".join(links.split()))  # uv does not read pip's settings
    for command in (make, fill):
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if result.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            return result.stderr.strip() or f"exit code {result.returncode}"
    stamp.write_text(requirements.read_text())
    return None
