"""Loop over all sequences of one `mot track` command: progress, result files, run record and table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mot_core.cli.terminal import Progress, open_console, print_table
from mot_core.cli.track.filling import fill
from mot_core.cli.track.job import Job, result_path
from mot_core.cli.track.pictures import save_pictures
from mot_core.cli.track.run_record import write_record
from mot_core.io import KittiResultWriter, ResultWriter
from mot_core.structures import to_numpy


def run_jobs(
    arguments: argparse.Namespace, jobs: Sequence[Job], settings: Mapping[str, Any], source: Mapping[str, Any]
) -> None:
    """Track all sequences and print a summary; results of finished sequences are kept if a later one fails.

    Args:
        arguments: Parsed command-line arguments.
        jobs: Sequences to track, at least one.
        settings: Tracker parameters given by the user.
        source: Additional entries for the run record: the origin of the other parameters.
    """
    done: list[Job] = []
    steps = sum(len(job.sequence.present_numbers()) for job in jobs) * (2 if arguments.video else 1)
    try:
        with Progress(steps) as progress:
            for job in jobs:
                progress.describe(f"tracking {job.sequence.name}")
                result = result_path(job, arguments.output)
                _track(job, result, progress.advance, arguments)
                done.append(job)
                if arguments.plot or arguments.video:
                    progress.describe(f"drawing {job.sequence.name}")
                    save_pictures(
                        job.sequence, result, arguments.plot, arguments.video, progress.advance, images=job.images
                    )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interruption_message(done, jobs, arguments.output)) from None
    finally:
        if done:
            write_record(arguments, settings, source, done)
    _report(done, arguments.output)


def _track(job: Job, result: Path, on_frame: Callable[[], None], arguments: argparse.Namespace) -> None:
    """Track one sequence and write ``result`` atomically."""
    offline = arguments.interpolate > 0 or arguments.smooth or arguments.mark_interpolated
    with _writer(job, result, arguments.mark_interpolated) as output:
        frames = []
        for number, track in job.steps():
            start = time.perf_counter()
            try:
                tracks = track()
            except ValueError as error:
                raise ValueError(f"{job.sequence.name}, frame {number}: {error}") from error
            job.seconds += time.perf_counter() - start
            job.identities.update(to_numpy(tracks.ids).tolist())
            if offline:
                frames.append((number, tracks))
            else:
                output.write(number, tracks)
                job.rows += len(tracks)
            on_frame()
        for number, tracks, filled in fill(frames, arguments.interpolate, arguments.smooth) if frames else ():
            output.write(number, tracks, filled if arguments.mark_interpolated else None)
            job.rows += len(tracks)


def _writer(job: Job, result: Path, mark: bool) -> ResultWriter:
    if job.sequence.rules.layout != "kitti":
        return ResultWriter(result, with_classes=job.with_classes)
    if mark:
        raise ValueError("--mark-interpolated: expected the MOT layout, got KITTI, which has no column for it; drop it")
    return KittiResultWriter(result)


def _interruption_message(done: Sequence[Job], jobs: Sequence[Job], output: Path) -> str:
    names = ", ".join(job.sequence.name for job in done) or "none"
    return (
        f"{len(done)} of {len(jobs)} sequences are finished and kept in {output} ({names}); "
        "nothing was written for the others"
    )


def _report(done: Sequence[Job], output: Path) -> None:
    rows = [
        {
            "sequence": job.sequence.name,
            "frames": str(len(job.sequence.present_numbers())),
            **job.cells(),
            "tracks": str(len(job.identities)),
            "rows": str(job.rows),
            "frames/s": _rate(len(job.sequence.present_numbers()) / max(job.seconds, 1e-9)),
        }
        for job in done
    ]
    print_table(f"results in {output}", list(rows[0]), [list(row.values()) for row in rows], open_console())
    ours = {f"{job.sequence.name}.txt" for job in done}
    others = sorted(path.name for path in output.glob("*.txt") if path.name not in ours)
    if others:
        print(
            f"mot: note: {output} also contains results of other runs, which `mot eval` would score too: "
            f"{', '.join(others)}",
            file=sys.stderr,
        )


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
