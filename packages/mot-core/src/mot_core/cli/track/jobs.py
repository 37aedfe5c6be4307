"""Loop over all sequences of one `mot track` command: progress, result files, run record and table."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mot_core.cli.eval import write_text
from mot_core.cli.terminal import Progress, open_console, print_note, print_table
from mot_core.cli.track.job import Job, result_path
from mot_core.cli.track.offline import finish, offline_settings
from mot_core.cli.track.pictures import save_pictures
from mot_core.cli.track.run_record import write_record
from mot_core.io import KittiResultWriter, ResultWriter
from mot_core.structures import Tracks, to_numpy


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
    steps = sum(job.steps_total for job in jobs) * (2 if arguments.video else 1)
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
        message = _interruption_message(done, jobs, arguments.output)
        partial = [job for job in jobs if job.keeps_partial and job.count and job not in done]
        if partial:
            message = f"the tracks of {partial[0].count} frames of {partial[0].sequence.name} are kept; {message}"
            done += partial
        raise KeyboardInterrupt(message) from None
    finally:
        if done:
            write_record(arguments, settings, source, done)
    _report(done, arguments.output, to_stderr=arguments.json == "-")
    if arguments.json:
        write_text(arguments.json, json.dumps([job.summary() for job in done], indent=1) + "\n")


def _track(job: Job, result: Path, on_frame: Callable[[], None], arguments: argparse.Namespace) -> None:
    """Track one sequence and write ``result`` atomically; an interrupted job that keeps partial results ends early."""
    offline = offline_settings(arguments)
    interrupted = False
    with _writer(job, result, arguments.mark_interpolated) as output:
        frames = []
        try:
            for number, track in job.steps():
                start = time.perf_counter()
                try:
                    tracks = track()
                except ValueError as error:
                    raise ValueError(f"{job.sequence.name}, frame {number}: {error}") from error
                job.seconds += time.perf_counter() - start
                job.count += 1
                if offline:
                    frames.append((number, tracks))
                else:
                    output.write(number, tracks)
                    _count(job, tracks)
                on_frame()
        except KeyboardInterrupt:
            if not (job.keeps_partial and job.count):
                raise
            interrupted = True
        final = finish(
            frames,
            link=arguments.link,
            gain=job.link_gain(),
            image_size=job.sequence.image_size,
            interpolate=arguments.interpolate,
            smooth=arguments.smooth,
        )
        for number, tracks, filled in final if frames else ():
            output.write(number, tracks, filled if arguments.mark_interpolated else None)
            _count(job, tracks)
    if interrupted:
        raise KeyboardInterrupt


def _writer(job: Job, result: Path, mark: bool) -> ResultWriter:
    if job.sequence.rules.layout != "kitti":
        return ResultWriter(result, with_classes=job.with_classes)
    if mark:
        raise ValueError("--mark-interpolated: expected the MOT layout, got KITTI, which has no column for it; drop it")
    return KittiResultWriter(result)


def _count(job: Job, tracks: Tracks) -> None:
    """Add the tracks of a frame to the counts of a job."""
    job.rows += len(tracks)
    ids = to_numpy(tracks.ids).tolist()
    job.identities.update(ids)
    if job.with_classes:
        for label, identity in zip(to_numpy(tracks.classes).tolist(), ids, strict=True):
            job.by_class.setdefault(label, set()).add(identity)


def _interruption_message(done: Sequence[Job], jobs: Sequence[Job], output: Path) -> str:
    names = ", ".join(job.sequence.name for job in done) or "none"
    return (
        f"{len(done)} of {len(jobs)} sequences are finished and kept in {output} ({names}); "
        "nothing was written for the others"
    )


def _report(done: Sequence[Job], output: Path, *, to_stderr: bool) -> None:
    rows = [
        {
            "sequence": job.sequence.name,
            "frames": str(job.count),
            **job.cells(),
            "tracks": str(len(job.identities)),
            "rows": str(job.rows),
            "frames/s": _rate(job.count / max(job.seconds, 1e-9)),
        }
        for job in done
    ]
    print_table(
        f"results in {output}", list(rows[0]), [list(row.values()) for row in rows], open_console(stderr=to_stderr)
    )
    ours = {f"{job.sequence.name}.txt" for job in done}
    others = sorted(path.name for path in output.glob("*.txt") if path.name not in ours)
    if others:
        print_note(
            f"{output} also contains results of other runs, which `mot eval` would score too: {', '.join(others)}"
        )


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
