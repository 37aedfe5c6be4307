"""Run the cases of a battery in a process of its own, and notice failures, crashes and hangs.

A case is a number: it draws everything from a generator seeded with the session's seed, its battery and its number, so
that it can be repeated alone.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LONGEST = 60.0  # seconds a case may take
LARGEST = 16 * 2**30  # bytes of address space
BATTERIES = {
    "association": "SORT, ByteTrack and OC-SORT against plain loops",
    "checkpoints": "damaged checkpoints of trackers and models",
    "commands": "mot data check, track and eval on damaged sequences",
    "documents": "YAML, JSON, sweeps and COCO files",
    "evaluation": "scores against TrackEval and py-motmetrics",
    "images": "images of all modes, orientations and damages",
    "losses": "UniTrack and em-kalman against plain loops, and bad input",
    "text": "mutated MOT and KITTI files against an independent parser",
    "videos": "rotated, cut and damaged videos",
}
"""What each battery compares, by the name of its module."""


def load(battery: str):
    """Return the function of a battery; a module elsewhere is given by its name."""
    name = f"fuzz.batteries.{battery}" if battery in BATTERIES else battery
    return importlib.import_module(name).case


@dataclass
class Tally:
    """Result of one battery."""

    battery: str
    cases: int = 0
    seconds: float = 0.0
    failures: list[int] = field(default_factory=list)


def run_battery(battery: str, seed: int, seconds: float, output: Path) -> Tally:
    """Run cases 0, 1, ... for some seconds; a process that dies or hangs is a failure of its last case."""
    tally, start = Tally(battery), time.monotonic()
    while (left := seconds - (time.monotonic() - start)) > 0 or not tally.cases:
        log = output / f"{battery}.jsonl"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "fuzz", "--child", battery, "--seed", str(seed), "--first", str(tally.cases)]
        command += ["--seconds", str(max(left, 1)), "--output", str(output)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        words = _wait(child, log)
        events = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        for event in events:
            tally.cases = event["case"] + 1
            if event.get("failed"):
                tally.failures.append(event["case"])
        if child.returncode:
            reason = f"the process ended with {child.returncode}\n{words}"
            _write_failure(output, battery, tally.cases - 1, seed, reason)
            if not tally.failures or tally.failures[-1] != tally.cases - 1:
                tally.failures.append(tally.cases - 1)
            if not events:  # not even the first case began
                break
    tally.seconds = time.monotonic() - start
    return tally


def _wait(child: subprocess.Popen, log: Path) -> str:
    """Return the last words of the process; kill it if a case takes twice as long as allowed."""
    seen, since = -1, time.monotonic()
    while True:
        try:
            return child.communicate(timeout=2)[1][-4000:]
        except subprocess.TimeoutExpired:  # noqa: PERF203
            size = log.stat().st_size if log.exists() else 0
            if size != seen:
                seen, since = size, time.monotonic()
            elif time.monotonic() - since > 2 * LONGEST:
                child.kill()


def run_cases(battery: str, seed: int, first: int, seconds: float, output: Path) -> None:
    """Run cases in this process, with a line in a log before and after each."""
    case = load(battery)
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST, LARGEST))
    stop = time.monotonic() + seconds
    number = first
    with (output / f"{battery}.jsonl").open("a") as log:
        while number == first or time.monotonic() < stop:
            print(json.dumps({"case": number}), file=log, flush=True)
            failed = not run_case(case, battery, seed, number, output)
            if failed:
                print(json.dumps({"case": number, "failed": True}), file=log, flush=True)
            number += 1


def run_case(case, battery: str, seed: int, number: int, output: Path) -> bool:
    """Run one case; keep its files and the traceback if it fails."""
    folder = Path(tempfile.mkdtemp(prefix=f"{battery}-"))
    before = Path.cwd()
    os.chdir(folder)
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            case(np.random.default_rng([seed, zlib.crc32(battery.encode()), number]), folder)
    except Exception:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write_failure(output, battery, number, seed, traceback.format_exc(), folder)
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _too_long(*_) -> None:
    raise TimeoutError(f"the case took more than {LONGEST:g} s")


def _write_failure(output: Path, battery: str, number: int, seed: int, message: str, files: Path | None = None) -> None:
    folder = output / f"{battery}-{number:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    again = f"nox -s fuzz -- --seed {seed} --replay {battery}:{number}"
    (folder / "failure.txt").write_text(f"{again}\n\n{message}\n")
    if files is not None:
        shutil.copytree(files, folder / "files", dirs_exist_ok=True, symlinks=True)
