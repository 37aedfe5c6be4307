"""Joint scores of two processes: `python -m _helpers.two_process.metrics FOLDER`."""

import json
import pickle
import sys

from _helpers.two_process.launch import in_two_processes
from mot_core.evaluation import TrackingMetrics


def score(frames):
    metric = TrackingMetrics()
    for frame in frames:
        metric.update(**frame)
    combined = {name: value.item() for name, value in metric.compute().items()}
    own_frames = len(metric.frames)
    report = {"combined": combined, "HOTA": {name: one["HOTA"] for name, one in metric.per_sequence().items()}}
    assert len(metric.frames) == own_frames, "each process keeps its own frames"
    return report


def work(rank, folder):
    frames = pickle.loads((folder / "frames.pickle").read_bytes())
    padded = enumerate(frames + frames[:4])  # a third of the frames for one process, the rest for the other
    report = {
        "dealt": score([frame for number, frame in padded if (number % 3 == 0) == (rank == 0)]),
        "all on one": score(frames if rank else []),
    }
    try:
        score([{**frames[0], "ids": frames[0]["ids"] + rank}])
    except ValueError as error:
        report["contradiction"] = str(error)
    (folder / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    in_two_processes(work, sys.argv[1])
