"""Inference of the benchmark from the names of folders and sequences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mot_core.io.benchmarks import BENCHMARKS

if TYPE_CHECKING:
    from mot_core.io.sequence import Sequence

_MOT15_NAMES = (
    "ADL-Rundle-[1368]|AVG-TownCentre|ETH-(Bahnhof|Crossing|Jelmoli|Linthescher|Pedcross2|Sunnyday)"
    "|KITTI-(13|16|17|19)|PETS09-S2L[12]|TUD-(Campus|Crossing|Stadtmitte)|Venice-[12]"
)
_NAMES = {
    "MOT15": _MOT15_NAMES,
    "MOT16": r"MOT16-\d\d",
    "MOT17": r"MOT17-\d\d(-(DPM|FRCNN|SDP))?",
    "MOT20": r"MOT20-\d\d",
    "DanceTrack": r"dancetrack\d{4}",
    "SportsMOT": r"v_[\w-]{11}_c\d{3}",
    "BEE24": r"BEE24-?\d\d",
    "UAVDT": r"M(0[1-9]|1[0-4])\d\d",
}
_FOLDERS = {"2dmot2015": "MOT15", "label_02": "KITTI"} | {
    name.lower(): name for name in BENCHMARKS if name != "generic"
}


def guess_benchmark(sequences: Iterable[str | Path | Sequence]) -> str:
    """Infer the benchmark of sequences from their names and those of the folders that contain them.

    Args:
        sequences: Paths, names (a suffix ``.txt``, as of result files, is ignored) or sequences.

    Returns:
        Key of ``BENCHMARKS``; ``"generic"`` if none of the names matches a benchmark.

    Raises:
        ValueError: If the names match several benchmarks, or only some of them match; the message lists the choices.

    >>> guess_benchmark(["MOT17-02-FRCNN", "MOT17-04-FRCNN"])
    'MOT17'
    >>> guess_benchmark([Path("data/BFT/val/eagle")]), guess_benchmark([Path("data/mine/street")])
    ('BFT', 'generic')
    """
    guesses: dict[str | None, str] = {}
    for sequence in sequences:
        if isinstance(sequence, str | Path):
            path = Path(sequence)
        else:  # KITTI keeps all sequences in one folder
            path = sequence.path if sequence.path.name == sequence.name else sequence.ground_truth_path
        guesses.setdefault(_guess(path), path.name)
    choices = f"choose one of {', '.join(BENCHMARKS)} (generic for your own data)"
    if not guesses:
        raise ValueError(f"the benchmark cannot be inferred without sequences; {choices}")
    if set(guesses) == {None}:
        return "generic"
    if None in guesses:
        raise ValueError(f"the benchmark of {guesses[None]} cannot be inferred from its name; {choices}")
    if len(guesses) > 1:
        found = ", ".join(f"{name} ({benchmark})" for benchmark, name in guesses.items())
        raise ValueError(f"these sequences seem to belong to different benchmarks: {found}; {choices}")
    (guess,) = guesses
    return str(guess)


def fallback_note(asked: str, used: str) -> str | None:
    """Return the sentence for the user if ``generic`` was inferred because no benchmark fits, otherwise None.

    Args:
        asked: Benchmark that was asked for, or "auto".
        used: Benchmark whose rules are used.

    >>> fallback_note("auto", "MOT17") is fallback_note("generic", "generic") is None
    True
    """
    if asked != "auto" or used != "generic":
        return None
    return (
        "no benchmark fits the names of the folders, so the rules of generic are used: every row of the ground truth "
        "counts; to use others, name a benchmark"
    )


def _guess(path: Path) -> str | None:
    name = path.name.removesuffix(".txt")
    for benchmark, pattern in _NAMES.items():
        if re.fullmatch(pattern, name):
            return benchmark
    # The innermost folder decides; one called "MOT17" further up may contain anything.
    for folder in path.parent.parts[::-1]:
        if folder.lower() in _FOLDERS:
            return _FOLDERS[folder.lower()]
    return None
