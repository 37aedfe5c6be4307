"""List the benchmarks, or run those of a topic: ``python -m benchmarks [TOPIC | TOPIC.SCRIPT] [arguments]``."""

from __future__ import annotations

import runpy
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.provenance import RESULTS_FOLDER


@dataclass(frozen=True)
class Benchmark:
    """A script, the question it answers, and where the answer is.

    Attributes:
        script: Module below ``benchmarks``, ``topic.name``.
        question: What it measures.
        result: File below ``benchmarks/results``.
        page: Page that shows the result.
    """

    script: str
    question: str
    result: str
    page: str = "benchmarks/README.md"

    @property
    def topic(self) -> str:
        """The folder of the script."""
        return self.script.partition(".")[0]


INDEX = [
    Benchmark(
        "association.speed",
        "How fast, small and good are trackers on given detections?",
        "association/speed.json",
    ),
    Benchmark(
        "association.presets",
        "Do our presets score what the official code scores?",
        "association/presets.json",
        "docs/parity.md",
    ),
    Benchmark(
        "detectors.nanodet",
        "How good are tracks of NanoDet on a raw video?",
        "detectors/nanodet.json",
        "docs/tracking.md",
    ),
    Benchmark(
        "association_quality.compare",
        "Which tracker associates real detections best?",
        "association_quality/compare.jsonl",
        "docs/association_results.md",
    ),
    Benchmark(
        "association_quality.linking",
        "Does joining tracks after the last frame help?",
        "association_quality/linking.jsonl",
        "docs/association_results.md",
    ),
    Benchmark(
        "kernels.speed",
        "How much faster are the GPU kernels than PyTorch?",
        "kernels/speed.json",
        "docs/kernels.md",
    ),
    Benchmark(
        "kernels.in_trackers",
        "Do kernels speed up trackers without changing them?",
        "kernels/in_trackers.jsonl",
        "docs/kernels.md",
    ),
    Benchmark(
        "kernels.deformable_attention",
        "What does deformable attention cost on a CPU?",
        "kernels/deformable_attention.json",
    ),
    Benchmark(
        "training.learning",
        "What do the small trackers learn?",
        "training/learning.jsonl",
        "docs/results.md",
    ),
    Benchmark(
        "training.step_cost",
        "What does a training step cost in time and memory?",
        "training/step_cost.json",
    ),
    Benchmark(
        "training.loader",
        "How fast are clips loaded?",
        "training/loader.json",
        "docs/training_data.md",
    ),
    Benchmark(
        "robustness.kills",
        "Is anything lost if a command is killed?",
        "robustness/kills.json",
    ),
    Benchmark(
        "robustness.fuzz",
        "Do random inputs find faults?",
        "robustness/fuzz.json",
    ),
    Benchmark(
        "robustness.long_video",
        "Does memory or time grow with the length of a video?",
        "robustness/long_video.json",
    ),
    Benchmark(
        "unitrack.effect",
        "What does the UniTrack loss do to trackers?",
        "unitrack/effect.jsonl",
        "docs/unitrack_results.md",
    ),
    Benchmark(
        "unitrack.identity_half",
        "Which part of it helps the identities of MOTIP?",
        "unitrack/identity_half.jsonl",
        "docs/unitrack_results.md",
    ),
    Benchmark(
        "unitrack.association",
        "What does it do to a learned association?",
        "unitrack/association.jsonl",
        "docs/unitrack_results.md",
    ),
    Benchmark(
        "unitrack.cost",
        "What does the UniTrack loss cost?",
        "unitrack/cost.json",
    ),
    Benchmark(
        "em_kalman.trackers",
        "How good are trackers trained without labels?",
        "em_kalman/trackers.jsonl",
        "docs/em_kalman_results.md",
    ),
    Benchmark(
        "em_kalman.motion",
        "Does learned motion noise help other trackers?",
        "em_kalman/motion.json",
        "docs/em_kalman.md",
    ),
    Benchmark(
        "em_kalman.cost",
        "What does EM-Kalman cost?",
        "em_kalman/cost.json",
    ),
    Benchmark(
        "fdta.effect",
        "Do the FDTA adapters improve identities?",
        "fdta/effect.jsonl",
        "docs/fdta_results.md",
    ),
    Benchmark(
        "fdta.cost",
        "What do the FDTA adapters cost?",
        "fdta/cost.json",
    ),
]


def main(arguments: list[str]) -> int:
    """Show the index, or run the benchmarks that the first argument names."""
    if not arguments:
        table = Table(title="benchmarks: python -m benchmarks TOPIC", title_justify="left")
        table.add_column("script", no_wrap=True)
        for column in ("question", "result", "page"):
            table.add_column(column)
        for one in INDEX:
            table.add_row(
                one.script, one.question, one.result if (RESULTS_FOLDER / one.result).exists() else "-", one.page
            )
        Console().print(table)
        return 0
    name, *rest = arguments
    chosen = [one for one in INDEX if name in (one.topic, one.script)]
    if not chosen:
        known = ", ".join(sorted({one.topic for one in INDEX}))
        print(f"benchmarks: expected a topic ({known}) or a script, got {name}", file=sys.stderr)
        return 2
    for one in chosen:
        sys.argv = [f"benchmarks.{one.script}", *rest]
        runpy.run_module(f"benchmarks.{one.script}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
