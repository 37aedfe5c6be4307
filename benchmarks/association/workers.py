"""A package in its own process: started in its environment, fed with jobs, one at a time."""

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
    """A package that does not start or dies at a job; the message is the last thing it wrote."""


class Worker:
    """The process of one package, a context manager.

    Attributes:
        about: what the package says of itself: ``python``, ``versions``, and ``trackers`` with their parameters.
    """

    def __init__(self, package: str, python: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"bench-{package}-")
        self._errors: IO[bytes] = (Path(self._folder.name) / "stderr.txt").open("w+b")
        one_thread = {f"{name}_NUM_THREADS": "1" for name in THREADS}
        # In a folder of its own, and the settings file of Ultralytics as well: a run leaves nothing behind.
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
        """Let ``tracker`` do one job of ``worker.JOBS`` on the stream in a file; returns its answer."""
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
        return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")


def our_python() -> Path:
    """The interpreter that runs our own trackers: this one."""
    return Path(sys.executable)
