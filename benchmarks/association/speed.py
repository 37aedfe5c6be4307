"""Frames per CPU second, memory and quality of our trackers and of the peers, on identical detections.

    python -m benchmarks.association.speed            measure everything (about 20 minutes) and refresh README.md
    python -m benchmarks.association.speed --quick    a few frames, one run, without a result file, as a smoke test
    python -m benchmarks.association.speed --table    refresh README.md from the result file

``nox -s bench -- association.speed`` builds the environment first. benchmarks/README.md describes the method.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.association import table
from benchmarks.association.quality import score
from benchmarks.association.scenes import Scene, make_scenes, memory_scene
from benchmarks.association.workers import Worker, WorkerError, our_python
from benchmarks.environments import install, python_of
from benchmarks.provenance import SOURCES, provenance

OURS = table.OURS
PEERS = ("roboflow", "ultralytics", "boxmot", "norfair")


@dataclass(frozen=True)
class Plan:
    """Size of the benchmark.

    Attributes:
        runs: Runs of every tracker on every stream.
        frames: Frames of a synthetic stream. The real stream is complete unless ``quick``.
        memory_frames: Frames of the memory test.
        quick: Whether this is only a smoke test.
    """

    runs: int = 5
    frames: int = 300
    memory_frames: int = 10_000
    quick: bool = False


QUICK = Plan(runs=1, frames=60, memory_frames=300, quick=True)


def main() -> None:
    options = _options()
    if options.table:
        table.refresh(table.read())
        return
    plan = QUICK if options.quick else Plan()
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-association-")))
        progress = stack.enter_context(_progress(console))
        pythons, packages = _environments(options.peers, progress)
        report = {
            **provenance(f"{SOURCES}/association"),
            **asdict(plan),
            **measure(plan, pythons, packages, folder, progress),
        }
    text = json.dumps(report, indent=1)
    if plan.quick:
        print(table.render(report))
        return
    table.RESULTS.write_text(text + "\n")
    table.refresh(report)
    print(f"wrote {table.RESULTS} and {table.README}")


def measure(
    plan: Plan, pythons: Mapping[str, Path], packages: dict[str, Any], folder: Path, progress: Progress
) -> dict[str, Any]:
    """Run every tracker on every stream, and collect the versions of each package in ``packages``."""
    results: dict[tuple[str, str, str], dict[str, Any]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for package, python in pythons.items():
            worker = _start(package, python)
            if isinstance(worker, Worker):
                workers[package] = stack.enter_context(worker)
                packages[package] = worker.about
            else:
                packages[package] = {"unavailable": str(worker)}
        trackers = [(package, tracker) for package, worker in workers.items() for tracker in worker.about["trackers"]]
        scenes = make_scenes(plan.frames, whole=not plan.quick)
        task = progress.add_task("", total=len(scenes) * len(trackers) * (plan.runs + 1) + len(trackers))
        for scene in scenes:
            stream, found = folder / "stream.npz", folder / "found.npz"
            scene.stream.save(stream)
            for package, tracker in trackers:  # not timed; also warms up the caches of every process
                progress.update(task, description=f"{scene.name} per frame: {package} {tracker}", advance=1)
                workers[package].run("track", tracker, stream, output=str(found))
                results[package, tracker, scene.name] = {
                    "package": package,
                    "tracker": tracker,
                    "stream": scene.name,
                    **score(scene, found),
                }
            for _ in range(plan.runs):
                for package, tracker in trackers:  # in turn, so that a slow phase of the machine affects all equally
                    progress.update(task, description=f"{scene.name} per frame: {package} {tracker}", advance=1)
                    answer = workers[package].run("time", tracker, stream)
                    for name, value in answer.items():
                        results[package, tracker, scene.name].setdefault(name, []).append(value)
    long = memory_scene(plan.memory_frames)
    memory = list(_measure_memory(long, trackers, pythons, folder / "long.npz", plan, progress))
    return {
        "packages": packages,
        "streams": {scene.name: scene.about() for scene in scenes},
        "results": list(results.values()),
        "memory_stream": long.name,
        "memory": memory,
    }


def _start(package: str, python: Path) -> Worker | WorkerError:
    try:
        return Worker(package, python)
    except WorkerError as error:
        if package == OURS:
            raise
        return error


def _measure_memory(
    scene: Scene,
    trackers: list[tuple[str, str]],
    pythons: Mapping[str, Path],
    stream: Path,
    plan: Plan,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    scene.stream.save(stream)
    (task,) = progress.task_ids
    for package, tracker in trackers:
        progress.update(task, description=f"memory: {package} {tracker}", advance=1)
        # In a fresh process, because memory is rarely returned to the system.
        with Worker(package, pythons[package]) as worker:
            answer = worker.run("memory", tracker, stream, settled=plan.memory_frames // 10)
        yield {"package": package, "tracker": tracker, **answer}


def _environments(wanted: list[str], progress: Progress) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the interpreter of each package that installs, and the reason for each that does not."""
    pythons, packages = {OURS: our_python()}, {}
    task = progress.add_task("", total=len(wanted))
    for peer in wanted:
        progress.update(task, description=f"environment of {peer}", advance=1)
        failure = install(peer)
        if failure is None:
            pythons[peer] = python_of(peer)
        else:
            packages[peer] = {"unavailable": failure.splitlines()[-1]}
    progress.remove_task(task)
    return pythons, packages


def _progress(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    return Progress(*columns, console=console, transient=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure our trackers and the peers on the same detections.")
    parser.add_argument("--quick", action="store_true", help="run once on a few frames, print the table, write nothing")
    parser.add_argument("--table", action="store_true", help="only refresh README.md from the result file")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="packages to compare with")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
