"""A package in its own process and environment, which receives one job at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from typing_extensions import Self

from benchmarks.provenance import ROOT

THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")


class WorkerError(RuntimeError):
    """A package failed to start or crashed in a job; the message is its last output."""


class Worker:
    """The process of one package, a context manager.

    Attributes:
        about: Description of the package: ``python``, ``versions``, and ``trackers`` with their parameters.
    """

    def __init__(self, package: str, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"bench-{package}-")
        self._errors: IO[bytes] = (Path(self._folder.name) / "stderr.txt").open("w+b")
        one_thread = {f"{name}_NUM_THREADS": "1" for name in THREADS}
        # Use a temporary folder, also for the settings of Ultralytics, so that a run leaves no files behind.
        env = {**os.environ, **one_thread, "YOLO_CONFIG_DIR": self._folder.name, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.association.worker", package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=env,
            cwd=self._folder.name,
        )
        try:
            self.about: dict[str, Any] = self._answer()
        except WorkerError:
            self.close()
            raise

    def run(self, job: str, tracker: str, stream: Path, **options: Any) -> dict[str, Any]:
        """Run one job of ``worker.JOBS`` with ``tracker`` on the stream in a file, and return its answer."""
        assert self._process.stdin is not None
        request = {"job": job, "tracker": tracker, "stream": str(stream), **options}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        return self._answer()

    def close(self) -> None:
        """End the process and remove its folder."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "the process ended without output")


def our_python() -> Path:
    """Return the interpreter of our own trackers, which is the current one."""
    return Path(sys.executable)
