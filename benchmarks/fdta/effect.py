"""Effect of the FDTA adapters on the small trackers, on synthetic video of figures that look nearly alike.

    python -m benchmarks.fdta.effect                   run what is missing in the results, two at a time
    python -m benchmarks.fdta.effect --part adapters   only the eight rows of the paper's ablation, on MOTIP
    python -m benchmarks.fdta.effect --table           only regenerate docs/fdta_results.md

Every run is ``mot fit --config fdta_motip_synthetic`` or ``fdta_motr_synthetic`` with the arguments of its row and of
the harder scene below, for half the steps of the config; runs of a seed share weights, videos and number of steps. An
interrupted run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pages import fill
from benchmarks.paired import Get, Line, current, read, table
from benchmarks.provenance import RESULTS_FOLDER, ROOT
from benchmarks.training.learning import TRACKERS
from benchmarks.training.variants import GETTERS, compare

RESULTS = RESULTS_FOLDER / "fdta" / "effect.jsonl"
PAGE = ROOT / "docs" / "fdta_results.md"
# Figures of one video share their shape, and colors, patterns and sizes span a fifth of the usual range.
SCENE = ("--data.init_args.likeness=0.8",)
HALF = {"motip": ("--trainer.limit_train_batches=120",), "motr": ("--trainer.limit_train_batches=200",)}
CALLBACK = "--trainer.callbacks"
SIMILAR: dict[str, Get] = {"pairs above 0.9 (%)": lambda line: line["test"]["similar"]}


@dataclass(frozen=True)
class Part:
    """A table of the page: rows that are trained with the same seeds and compared with the first one.

    Attributes:
        tracker: Name of the tracker.
        seeds: Seeds of every row; settings were chosen with seed 0.
        rows: Arguments for ``mot fit`` by the name of the row.
        length: Arguments that set the number of steps.
    """

    tracker: str
    seeds: Sequence[int]
    rows: Mapping[str, Sequence[str]]
    length: Sequence[str] = ()

    @property
    def arguments(self) -> dict[str, tuple[str, ...]]:
        """All arguments by the name of the row."""
        return {name: (*SCENE, *self.length, *more) for name, more in self.rows.items()}


def only(*adapters: str) -> tuple[str, ...]:
    """Return the arguments that switch all other adapters off."""
    unused = [name for name in ("spatial", "temporal", "identity") if name not in adapters]
    return tuple(f"{CALLBACK}.use_{name}=false" for name in unused)


def with_setting(adapter: str, setting: str, *adapters: str) -> tuple[str, ...]:
    """Return the arguments for some adapters, one of them with another setting, for example "quality=giou"."""
    return (*only(*(adapters or (adapter,))), f"{CALLBACK}.{adapter}.{setting}")


ALL = ("spatial", "temporal", "identity")
PARTS = {
    "adapters": Part(
        "motip",
        range(1, 6),
        {
            "none": only(),
            "SA": only("spatial"),
            "TA": only("temporal"),
            "IA": only("identity"),
            "SA + TA": only("spatial", "temporal"),
            "SA + IA": only("spatial", "identity"),
            "TA + IA": only("temporal", "identity"),
            "SA + TA + IA": only(*ALL),
        },
        HALF["motip"],
    ),
    "longer": Part("motip", range(1, 4), {"none": only(), "SA + TA + IA": only(*ALL)}),
    "choices": Part(
        "motip",
        range(1, 2),
        {
            "none": only(),
            "IA": only("identity"),
            "IA, GIoU for IoU": with_setting("identity", "quality=giou"),
            "IA without projection": with_setting("identity", "layers=0"),
            "IA without overlap": (
                *with_setting("identity", "weighting=none"),
                f"{CALLBACK}.identity.min_quality=0",
            ),
            "TA": only("temporal"),
            "TA, zeros for the mask": with_setting("temporal", "mask_missing=false"),
            "SA + TA + IA": only(*ALL),
            "SA + TA + IA, foreground weight 1": with_setting("spatial", "foreground_weight=1", *ALL),
            "SA + TA + IA without gates": (
                *with_setting("spatial", "residual=postnorm", *ALL),
                f"{CALLBACK}.temporal.residual=replace",
            ),
            "SA + TA + IA, weights 1": (
                *only(*ALL),
                f"{CALLBACK}.depth_weight=1",
                f"{CALLBACK}.identity_weight=1",
            ),
        },
        HALF["motip"],
    ),
    "motr": Part(
        "motr",
        range(1, 4),
        {"none": only(), "TA": only("temporal"), "IA": only("identity"), "TA + IA": only("temporal", "identity")},
        HALF["motr"],
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="table to complete; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of weights and videos; default: those of the part")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "fdta", help="folder for checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
    parser.add_argument("--table", action="store_true", help="only regenerate docs/fdta_results.md")
    options = parser.parse_args(arguments)
    for name in PARTS if options.part is None else (options.part,):
        part = PARTS[name]
        if not options.table:
            compare(
                part.tracker,
                part.arguments,
                options.seeds or part.seeds,
                options.results,
                options.output,
                processes=options.processes,
                config=f"fdta_{part.tracker}_synthetic",
            )
    if options.results == RESULTS:
        fill(PAGE, tables(read(RESULTS)))


def tables(lines: Sequence[Line]) -> dict[str, str]:
    """Return the table of every part by the name of its marker."""
    lines = current(lines, "recipe")
    return {name: render(part, lines) for name, part in PARTS.items()}


def render(part: Part, lines: Sequence[Line]) -> str:
    """Return scores of every row over the seeds of a part, and paired differences from the first row."""
    title = TRACKERS[part.tracker]
    known = [line for line in lines if line["tracker"] == title and line["seed"] in part.seeds]
    rows = {
        name: [line for line in known if (line["variant"], line["arguments"]) == (name, list(more))]
        for name, more in part.arguments.items()
    }
    return table(f"**{title}**", rows, {**GETTERS, **SIMILAR})


if __name__ == "__main__":
    main()
