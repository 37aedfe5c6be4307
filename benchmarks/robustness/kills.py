"""Kill commands of ``mot`` with SIGKILL at random moments, run them again, and compare with runs without a kill.

    python -m benchmarks.robustness.kills                                # temporary folder and /dev/shm, 60 kills
    python -m benchmarks.robustness.kills --folders /mnt/a /mnt/b --kills 10 --seed 1

Every command runs on tiny inputs made here, once without a kill and then ``--kills`` times with one, in every folder. A
third of the kills come at any moment of the run, the others within milliseconds after a file is begun. Then:

* every visible file in the output must be complete: a checkpoint that loads, JSON that parses, the expected results;
* a checkpoint must hold every epoch that was reported, except the last one, which is being saved;
* the same command (``mot fit`` with ``--ckpt_path last``) must end with files that equal those without a kill, bit by
  bit, and leave no hidden file behind.

Writes ``results/robustness/kills.json``. The exit code is 1 if anything was lost or differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.provenance import RESULTS_FOLDER, SOURCES, TESTS, provenance
from mot_core.checkpoints import read_checkpoint
from mot_core.cli import main as mot
from mot_core.io import make_scene

RESULT = RESULTS_FOLDER / "robustness/kills.json"
TINY = (
    "--config motr_synthetic --trainer.enable_model_summary false --trainer.check_val_every_n_epoch 1 "
    "--data.num_videos 4 --data.num_val_videos 1 --data.num_frames 6 --data.image_size [48,80]"
)
SLOW_IMPORTS = ("lightning", "optuna", "mot_core.evaluation", "mot_core.cli.fit.command", "mot_core.cli.sweep.trial")
POLL_S = 0.0005
LIMIT_S = 300


@dataclass(frozen=True)
class Command:
    """A command under test.

    Attributes:
        arguments: Arguments after ``mot``; ``{inputs}`` and ``{output}`` are replaced by folders.
        result: Function from the output folder to the content that must equal that of the run without a kill.
    """

    arguments: str
    result: Callable[[Path], Any]


def last_checkpoint(output: Path) -> Any:
    """Return weights, optimizer and progress of the newest training run."""
    newest = max(output.glob("version_*"), key=lambda folder: int(folder.name.partition("_")[2]))
    content = read_checkpoint(newest / "checkpoints/last.ckpt")
    return {name: content[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")}


def trials(output: Path) -> Any:
    """Return the trials of a sweep without their times; a killed trial leaves a gap in the numbers."""
    rows = json.loads((output / "trials.json").read_text())
    return [{name: value for name, value in row.items() if name not in ("trial", "seconds")} for row in rows]


def texts(output: Path) -> Any:
    """Return all text files by name."""
    return {path.name: path.read_bytes() for path in sorted(output.glob("*.txt"))}


COMMANDS = {
    "fit": Command(f"fit {TINY} --trainer.max_epochs 5 --output {{output}}", last_checkpoint),
    "track": Command("track {inputs}/data --tracker ocsort --benchmark generic --output {output}", texts),
    "eval --json": Command(
        "eval {inputs}/results --gt {inputs}/data --benchmark generic --json {output}/scores.json",
        lambda output: (output / "scores.json").read_bytes(),
    ),
    "sweep": Command("sweep {inputs}/sweep.yaml --trials 3 --output {output}", trials),
    "import": Command(
        "import {inputs}/released.pth {output}/motr.ckpt --config {inputs}/large.yaml --report {output}/keys.txt",
        lambda output: (read_checkpoint(output / "motr.ckpt")["state_dict"], (output / "keys.txt").read_bytes()),
    ),
}


def main() -> int:
    """Run the campaign, print a table and write the result file."""
    memory = Path("/dev/shm")
    folders = [Path(tempfile.gettempdir()), *([memory] if memory.is_dir() else [])]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", nargs="+", type=Path, default=folders, help="folders on different file systems")
    parser.add_argument("--kills", type=int, default=6, help="kills per command and folder (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--only", default="", help="only commands that start with this text")
    parser.add_argument("--json", type=Path, default=RESULT, help="result file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in SLOW_IMPORTS:
        import_module(name)
    report: dict[str, Any] = {**provenance(SOURCES), "seed": options.seed, "results": []}
    for folder in options.folders:
        with tempfile.TemporaryDirectory(dir=folder, prefix="kills-") as work:
            inputs = make_inputs(Path(work) / "inputs")
            for name, command in COMMANDS.items():
                if not name.startswith(options.only):
                    continue
                rng = random.Random(f"{options.seed} {name}")
                row = campaign(command, Path(work), inputs, options.kills, rng)
                row = {"command": name, "folder": str(folder), "file_system": file_system(folder), **row}
                report["results"].append(row)
                print(json.dumps(row), flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    Console().print(as_table(report["results"]))
    return int(any(row["failures"] for row in report["results"]))


def make_inputs(inputs: Path) -> Path:
    """Write detections with ground truth, results, a sweep file, and released weights with their config."""
    from mot_core.cli.fit.configs import find_config

    sys.path.insert(0, str(TESTS))
    from _helpers.trackers.official_names import officially
    from mot_core.trackers import MOTR, DetectorSettings

    for seed in range(4):
        make_scene(seed=seed, num_objects=12, num_frames=300, image_size=(480, 640)).save(inputs / "data", f"s{seed}")
    run_and_kill(COMMANDS["track"].arguments, inputs, inputs / "results")
    sweep = {
        "command": ["${env}", "mot", "fit", *TINY.split(), "--trainer.max_epochs", "2", "${args}"],
        "method": "random",
        "metric": {"name": "train/loss", "goal": "minimize"},
        "parameters": {"model.init_args.optimizer.lr": {"min": 1e-4, "max": 1e-3}},
    }
    (inputs / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    config = yaml.safe_load(find_config("motr_synthetic").read_text())
    config["model"]["init_args"]["detector"]["ffn_dim"] = 10_000  # 15 MB of weights, so that writing takes time
    (inputs / "large.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    detector = DetectorSettings(**config["model"]["init_args"]["detector"])
    state = MOTR(detector).detector.state_dict()
    torch.save({"model": officially(state)}, inputs / "released.pth")
    return inputs


def campaign(command: Command, work: Path, inputs: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Run a command without a kill, then kill and repeat it ``kills`` times."""
    clean, output = work / "clean", work / "killed"
    began = time.monotonic()
    writes = run_and_kill(command.arguments, inputs, clean).writes
    seconds = time.monotonic() - began
    expected = command.result(clean)
    row: dict[str, Any] = {"writes": writes, "seconds": round(seconds, 2)}
    row |= dict.fromkeys(("kills", "in_a_write", "resumed", "finished_before"), 0)
    failures: list[str] = []
    while row["kills"] < kills:
        number = row["kills"] + row["finished_before"]
        in_write = number % 3 != 0 and writes > 0
        moment = (rng.uniform(0, 0.005), rng.randrange(writes)) if in_write else (rng.uniform(0.05, seconds), None)
        end = run_and_kill(command.arguments, inputs, output, *moment)
        row["kills"] += end.killed
        row["finished_before"] += not end.killed
        row["in_a_write"] += end.killed and any(output.rglob(".*.tmp"))
        found = faults_after_kill(output, clean, end.stderr)
        resumes = command.arguments.startswith("fit") and any(output.glob("version_*/checkpoints/last.ckpt"))
        row["resumed"] += resumes
        again = run_and_kill(command.arguments + " --ckpt_path last" * resumes, inputs, output)
        if again.code:
            found.append(f"exit code {again.code}: {again.stderr.splitlines()[-1:]}")
        try:
            if not equal(command.result(output), expected):
                found.append("the result differs from that without a kill")
        except (OSError, ValueError) as error:
            found.append(f"no result: {error}")
        found += [f"left behind: {path.name}" for path in output.rglob(".*.tmp")]
        failures += [f"run {number}, {moment}: {fault}" for fault in found]
        shutil.rmtree(output, ignore_errors=True)
    shutil.rmtree(clean)
    return {**row, "failures": failures}


@dataclass(frozen=True)
class End:
    """How a run ended: by a kill or with an exit code, the number of files it had begun, and what it printed."""

    killed: bool
    code: int
    writes: int
    stderr: str


def run_and_kill(arguments: str, inputs: Path, output: Path, delay: float = LIMIT_S, write: int | None = None) -> End:
    """Run a command in a new process and kill it, unless it ends earlier.

    The process is forked after the slow imports, during which nothing is written.

    Args:
        arguments: Arguments with placeholders.
        inputs: Folder with its inputs.
        output: Folder that it writes to.
        delay: Kill it after this many seconds.
        write: Count the seconds from the moment at which it has begun this many files and one more.
    """
    filled = [one.replace("{inputs}", str(inputs)).replace("{output}", str(output)) for one in arguments.split()]
    seen: set[Path] = set()
    with tempfile.NamedTemporaryFile("r") as stderr:
        process = multiprocessing.get_context("fork").Process(target=run_mot, args=(filled, inputs, stderr.name))
        process.start()
        end = time.monotonic() + (delay if write is None else LIMIT_S)
        while process.is_alive() and time.monotonic() < end:
            seen.update(output.rglob(".*.tmp"))
            if write is not None and len(seen) > write:
                time.sleep(delay)
                break
            time.sleep(POLL_S)
        killed = process.is_alive()
        process.kill()
        process.join()
        return End(killed, 0 if killed else process.exitcode or 0, len(seen), stderr.read())


def run_mot(arguments: list[str], folder: Path, stderr: str) -> None:
    """Run ``mot`` in this process, with its output in a file."""
    warnings.simplefilter("ignore")
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(stderr, os.O_WRONLY), 2)
    sys.exit(mot(arguments))


def faults_after_kill(output: Path, clean: Path, said: str) -> list[str]:
    """Return what is wrong with the visible files of a killed command."""
    found = []
    for path in output.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path.suffix == ".ckpt":
                read_checkpoint(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".txt" and path.read_bytes() != (clean / path.relative_to(output)).read_bytes():
                found.append(f"{path.name} is not complete")
        except (OSError, ValueError) as error:
            found.append(f"{path.name}: {error}")
    epochs = [int(number) for number in re.findall(r"^mot: epoch (\d+),", said, re.MULTILINE)]
    if epochs and not list(output.glob("trial-*")):
        saved = [read_checkpoint(path)["epoch"] for path in output.glob("version_*/checkpoints/last.ckpt")]
        if max(saved, default=-1) < epochs[-1] - 1:  # the last one is reported before it is saved
            found.append(f"epoch {epochs[-1]} was reported, the checkpoint holds {saved}")
    return found


def equal(a: Any, b: Any) -> bool:
    """Return whether two nested results are equal, tensors bit by bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and bool(a == b)


def file_system(folder: Path) -> str:
    """Return the type of the file system of a folder, such as ext4 or tmpfs."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(inside, key=lambda mount: len(mount[0]))[1]


def as_table(rows: list[dict[str, Any]]) -> Table:
    """Return a table of all rows."""
    table = Table(title="kill -9: nothing may be lost, and results must be equal", title_justify="left")
    columns = ["command", "file_system", "kills", "in_a_write", "resumed", "finished_before", "failures"]
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(str(len(row[name]) if name == "failures" else row[name]) for name in columns))
    return table


if __name__ == "__main__":
    sys.exit(main())
