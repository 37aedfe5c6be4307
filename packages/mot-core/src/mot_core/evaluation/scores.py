"""Scores of one sequence or of several combined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mot_core.evaluation._trackeval import FAMILIES, trackeval_metrics
from mot_core.evaluation.protocol import FramePair

Field: TypeAlias = "float | int | list[float] | list[int]"

NOT_IN_PERCENT = {"FP_per_frame", "MOTP_sum"}  # TrackEval's only float fields that are not ratios
ALIASES = {"FP": "CLR_FP", "FN": "CLR_FN"}

HEADLINES = {
    "HOTA": ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr"),
    "CLEAR": ("MOTA", "MOTP", "IDSW", "FP", "FN", "Frag", "MT", "PT", "ML"),
    "Identity": ("IDF1", "IDP", "IDR"),
}
"""Fields to log and print, by family."""


class Scores(Mapping[str, "Field"]):
    """All HOTA, CLEAR and Identity fields by TrackEval's name: ratios in percent, counts as integers.

    HOTA fields that exist for each of the 19 localization thresholds 0.05, 0.10, ..., 0.95 are available as their mean,
    under the field's name, and as a list, under ``<name>_alpha``.

    Args:
        fractions: Output of TrackEval by family ("HOTA", "CLEAR", "Identity", "Count") and field, with ratios as
            fractions.

    >>> box = np.array([[0., 0., 10., 20.]])
    >>> scores = score_frames([FramePair(np.array([1]), box, np.array([5]), box)])
    >>> scores["HOTA"], scores["IDSW"], len(scores["HOTA_alpha"])
    (100.0, 0, 19)
    """

    def __init__(self, fractions: Mapping[str, Mapping[str, Any]]) -> None:
        self.fractions = fractions
        self._fields = _in_percent(fractions)

    @classmethod
    def combine(cls, scores: Iterable[Scores]) -> Scores:
        """Combine the scores of several sequences as TrackEval does: add counts and compute ratios from the sums.

        >>> box = np.array([[0., 0., 10., 20.]])
        >>> right = score_frames([FramePair(np.array([1]), box, np.array([5]), box)])
        >>> missed = score_frames([FramePair(np.array([1]), box, np.array([], int), box[:0])])
        >>> Scores.combine([right, missed])["MOTA"]
        50.0
        """
        parts = [part.fractions for part in scores]
        return cls(
            {
                family: trackeval_metrics()[family].combine_sequences(
                    {row: part[family] for row, part in enumerate(parts)}
                )
                for family in parts[0]
            }
        )

    def __getitem__(self, name: str) -> Field:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        names = [name for name in ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW") if name in self]
        return f"Scores({', '.join(f'{name}={_short(self[name])}' for name in names)})"


def score_frames(frames: Sequence[FramePair], families: Sequence[str] = FAMILIES) -> Scores:
    """Score the frames of one sequence, in order of time.

    Args:
        frames: Boxes that count in each frame (:func:`mot_core.evaluation.protocol.prepare_frame`).
        families: Families of metrics to compute.

    Returns:
        Scores of the sequence.
    """
    gt_ids, num_gt_ids = _relabel([frame.gt_ids for frame in frames])
    ids, num_ids = _relabel([frame.ids for frame in frames])
    data = {
        "num_timesteps": len(frames),
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "num_gt_ids": num_gt_ids,
        "num_tracker_ids": num_ids,
        "gt_ids": gt_ids,
        "tracker_ids": ids,
        "similarity_scores": [frame.similarity() for frame in frames],
    }
    return Scores({family: trackeval_metrics()[family].eval_sequence(data) for family in families})


def _relabel(ids: list[npt.NDArray[np.int64]]) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Renumber identities as 0, 1, ... in ascending order; return them and their number."""
    if not ids:
        return [], 0
    unique, labels = np.unique(np.concatenate(ids), return_inverse=True)
    ends = np.cumsum([len(frame) for frame in ids])
    return np.split(labels, ends[:-1]), len(unique)


def _in_percent(fractions: Mapping[str, Mapping[str, Any]]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    lists: dict[str, Field] = {}
    for family, values in fractions.items():
        metric = trackeval_metrics()[family]
        for name in metric.float_array_fields:
            fields[name] = 100 * float(np.mean(values[name]))
            lists[f"{name}_alpha"] = [100 * float(value) for value in values[name]]
        for name in metric.integer_array_fields:
            fields[name] = float(np.mean(values[name]))
            lists[f"{name}_alpha"] = [int(value) for value in values[name]]
        for name in metric.float_fields:
            fields[name] = float(values[name]) * (1 if name in NOT_IN_PERCENT else 100)
        for name in metric.integer_fields:
            fields[name] = int(values[name])
    fields |= {alias: fields[name] for alias, name in ALIASES.items() if name in fields}
    return fields | lists


def _short(value: Field) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
