"""Effect of learnable association on the small trackers, on synthetic video with crossings and occlusions.

    python -m benchmarks.lamotr.effect                     run what is missing in the results, two at a time
    python -m benchmarks.lamotr.effect --part association  only the rows of the paper's Table 4
    python -m benchmarks.lamotr.effect --table             only regenerate docs/lamotr_results.md

Every run is ``mot fit --config lamotr_synthetic`` (or ``motr_synthetic``, ``motip_synthetic``) with the arguments of
its row; runs of a seed share weights, videos and number of steps. An interrupted run resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pages import fill
from benchmarks.paired import Line, current, read, table
from benchmarks.provenance import RESULTS_FOLDER, ROOT
from benchmarks.training.learning import TRACKERS
from benchmarks.training.variants import GETTERS, compare

RESULTS = RESULTS_FOLDER / "lamotr" / "effect.jsonl"
PAGE = ROOT / "docs" / "lamotr_results.md"
MODEL = "--model.init_args"
PLUGIN = (
    "--trainer.callbacks+=lamotr.lightning.LAMOTRCallback",
    "--trainer.callbacks.sgla={num_heads: 4, num_layers: 2, ffn_dim: 128}",
)


@dataclass(frozen=True)
class Part:
    """A table of the page: rows that are trained with the same seeds and compared with the first one.

    Attributes:
        tracker: Name of the tracker.
        seeds: Seeds of every row; settings were chosen with seed 0.
        rows: Arguments for ``mot fit`` by the name of the row.
    """

    tracker: str
    seeds: Sequence[int]
    rows: Mapping[str, Sequence[str]]


PARTS = {
    # Table 4 of the paper; the single decoder is that of MOTR, with the same detector and update.
    "association": Part(
        "lamotr",
        range(1, 6),
        {
            "single decoder": (f"{MODEL}.association=none",),
            "IoU": (f"{MODEL}.association=iou",),
            "feature": (f"{MODEL}.association=feature",),
            "combination": (f"{MODEL}.association=combination",),
            "SGLA without cue": (f"{MODEL}.sgla.cue=false",),
            "SGLA": (),
        },
    ),
    # Table 5: which tokens attend to which.
    "attention": Part(
        "lamotr",
        range(1, 3),
        {
            "concatenated": (),
            "objects attend to tracks": (f"{MODEL}.sgla.attention=obj_queries",),
            "tracks attend to objects": (f"{MODEL}.sgla.attention=tck_queries",),
        },
    ),
    # Table 6: update of the queries of tracks.
    "update": Part(
        "lamotr",
        range(1, 3),
        {
            "weighted sum": (),
            "TAN (MOTR)": (f"{MODEL}.update=tan",),
            "TIM (MeMOTR)": (f"{MODEL}.update=tim",),
        },
    ),
    "motr": Part("motr", range(1, 4), {"MOTR": (), "MOTR with SGLA": PLUGIN}),
    "motip": Part("motip", range(1, 4), {"MOTIP": (), "MOTIP with SGLA": PLUGIN}),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="table to complete; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of weights and videos; default: those of the part")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "lamotr", help="folder for checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
    parser.add_argument("--table", action="store_true", help="only regenerate docs/lamotr_results.md")
    options = parser.parse_args(arguments)
    for name in PARTS if options.part is None else (options.part,):
        part = PARTS[name]
        if not options.table:
            seeds = options.seeds or part.seeds
            compare(part.tracker, part.rows, seeds, options.results, options.output, processes=options.processes)
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
        # Rows that two parts share have different names, but equal arguments, and are trained once.
        name: [line for line in known if (line["variant"], line["arguments"]) == (name, list(more))]
        for name, more in part.rows.items()
    }
    return table(f"**{title}**", rows, GETTERS) if any(rows.values()) else "Not measured yet."


if __name__ == "__main__":
    main()
