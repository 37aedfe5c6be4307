"""Result of an evaluation: scores per sequence and combined, as objects, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mot_core.evaluation.scores import Field, Scores
from mot_core.io.guess import fallback_note

COMBINED = "COMBINED"


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class.

    Attributes:
        sequences: Scores by name of the result file.
        combined: Scores over all of them, combined as in TrackEval (not averaged).
    """

    sequences: dict[str, Scores]
    combined: Scores

    def rows(self) -> Iterator[tuple[str, Scores]]:
        """Iterate over the sequences, followed by ``("COMBINED", ...)``."""
        yield from self.sequences.items()
        yield COMBINED, self.combined


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder of results.

    Attributes:
        benchmark: Name of the benchmark with the rules used.
        classes: Scores by class; one class in every benchmark except KITTI (``car`` and ``pedestrian``).
        missing: Sequences with ground truth but without results, which are not scored.
        asked: Benchmark that was asked for, or "auto".
    """

    benchmark: str
    classes: dict[str, ClassScores]
    missing: tuple[str, ...] = ()
    asked: str = ""

    @property
    def sequences(self) -> dict[str, Scores]:
        """Scores by sequence, if the benchmark has one class; otherwise use ``classes``."""
        return self._only_class.sequences

    @property
    def combined(self) -> Scores:
        """Scores over all sequences, if the benchmark has one class; otherwise use ``classes``."""
        return self._only_class.combined

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader of the scores must know; often empty."""
        notes = [note] if (note := fallback_note(self.asked, self.benchmark)) else []
        if self.missing:
            scored = len(next(iter(self.classes.values())).sequences)
            notes.append(
                f"{COMBINED} is over {scored} of {scored + len(self.missing)} sequences: "
                f"there are no results for {', '.join(self.missing)}"
            )
        zero = [name for name, one in self.classes.items() if one.combined["GT_Dets"] and not one.combined["HOTA"]]
        return notes + [_explain_zero(name, self.classes[name].combined) for name in zero]

    def to_dict(self) -> dict[str, Any]:
        """Return all scores for JSON: ``{"sequences": {name: {field: value}}, "combined": {field: value}}``.

        Ratios are unrounded percentages, counts are integers. With several classes (KITTI), the fields are nested in
        one more level, the class. ``"missing"`` lists sequences without results, if there are any.
        """
        if len(self.classes) == 1:
            sequences: dict[str, Any] = {name: dict(scores) for name, scores in self.sequences.items()}
            combined: dict[str, Any] = dict(self.combined)
        else:
            names = next(iter(self.classes.values())).sequences
            sequences = {
                name: {label: dict(one.sequences[name]) for label, one in self.classes.items()} for name in names
            }
            combined = {label: dict(one.combined) for label, one in self.classes.items()}
        report = {"sequences": sequences, "combined": combined}
        return report | {"missing": list(self.missing)} if self.missing else report

    def to_csv(self) -> str:
        """Return a flat table: one row per sequence, the last one ``COMBINED``; with several classes, per class.

        A list over the localization thresholds becomes the columns ``HOTA_alpha_0.05`` ... ``HOTA_alpha_0.95``.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        labels = ["class"] if len(self.classes) > 1 else []
        for label, one in self.classes.items():
            for name, scores in one.rows():
                flat = dict(_flat(scores))
                if not text.tell():
                    writer.writerow([*labels, "sequence", *flat])
                writer.writerow([*([label] if labels else []), name, *flat.values()])
        return text.getvalue()

    @property
    def _only_class(self) -> ClassScores:
        if len(self.classes) > 1:
            names = " and ".join(f'.classes["{name}"]' for name in self.classes)
            raise ValueError(f"{self.benchmark} scores several classes separately; use {names}")
        return next(iter(self.classes.values()))


def _explain_zero(name: str, scores: Scores) -> str:
    """Return the reason for a HOTA of 0: no results, or none that overlap an object."""
    if not scores["Dets"]:
        return f"HOTA of {name} is 0 because no box of the results counts for it; check the classes of the results"
    return (
        f"HOTA of {name} is 0 because none of {scores['Dets']} result boxes overlaps an object of its frame by an IoU "
        "of 0.05; check that frames count as in the ground truth and boxes are left, top, width, height in pixels"
    )


def _flat(scores: Scores) -> Iterator[tuple[str, Field]]:
    for name, value in scores.items():
        if isinstance(value, list):
            for position, entry in enumerate(value, 1):
                yield f"{name}_{position * 0.05:.2f}", entry
        else:
            yield name, value
