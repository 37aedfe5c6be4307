"""Tables of scores for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mot_core.evaluation.report import COMBINED, ClassScores, Evaluation
from mot_core.evaluation.scores import Scores

# The widest row that fits the terminal is used.
COLUMNS = [
    line.split()
    for line in (
        "HOTA DetA AssA LocA MOTA MOTP IDF1 IDP IDR IDSW FP FN Frag MT PT ML",
        "HOTA DetA AssA MOTA IDF1 IDP IDR IDSW FP FN Frag MT ML",
        "HOTA DetA AssA MOTA IDF1 IDSW FP FN",
        "HOTA MOTA IDF1 IDSW",
    )
]


def scores_table(evaluation: Evaluation, console: Console | None = None) -> list[Table]:
    """Create one table per class, with a row per sequence and one for all, and as many columns as fit the console.

    Ratios of a sequence without ground truth are undefined and shown as ``-``, as is everything about a class that does
    not occur. If the output is not a terminal (but a file or pipe), all columns are included.

    Args:
        evaluation: Result of :func:`mot_core.evaluation.evaluate`.
        console: Console for which to choose the columns. None includes all columns.

    >>> import tempfile
    >>> from mot_core.evaluation import evaluate
    >>> from pathlib import Path
    >>> from mot_core.io import make_scene, write_mot
    >>> root = Path(tempfile.mkdtemp())
    >>> scene = make_scene(num_objects=4, num_frames=30)
    >>> _ = scene.save(root / "gt", "crossing")
    >>> write_mot(root / "results" / "crossing.txt", scene.ground_truth, kind="results")
    >>> evaluation = evaluate(root / "results", root / "gt", benchmark="generic")
    >>> (table,) = scores_table(evaluation)
    >>> table.row_count, len(table.columns)
    (2, 17)
    """
    return [_widest_that_fits(_title(evaluation, label), one, console) for label, one in evaluation.classes.items()]


def print_scores(evaluation: Evaluation, console: Console) -> None:
    """Print the tables of :func:`scores_table`, wider than the console rather than with truncated numbers.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from mot_core.evaluation import evaluate
    >>> from mot_core.io import make_scene, write_mot
    >>> root = Path(tempfile.mkdtemp())
    >>> scene = make_scene(num_objects=4, num_frames=30)
    >>> _ = scene.save(root / "gt", "crossing")
    >>> write_mot(root / "results" / "crossing.txt", scene.ground_truth, kind="results")
    >>> evaluation = evaluate(root / "results", root / "gt", benchmark="generic")
    >>> print_scores(evaluation, Console(width=60, force_terminal=True, color_system=None))
    generic
    ┏━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━┓
    ┃ sequence ┃   HOTA ┃   MOTA ┃   IDF1 ┃ IDSW ┃
    ┡━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━╇━━━━━━━━╇━━━━━━┩
    │ crossing │ 100.00 │ 100.00 │ 100.00 │    0 │
    ├──────────┼────────┼────────┼────────┼──────┤
    │ COMBINED │ 100.00 │ 100.00 │ 100.00 │    0 │
    └──────────┴────────┴────────┴────────┴──────┘
    percent, except counts
    """
    for table in scores_table(evaluation, console):
        width = max(console.width, _width(table, console))
        (console if width == console.width else Console(file=console.file, width=width)).print(table)


def _title(evaluation: Evaluation, label: str) -> str:
    return evaluation.benchmark + (f", {label}" if len(evaluation.classes) > 1 else "")


def _widest_that_fits(title: str, scores: ClassScores, console: Console | None) -> Table:
    tables = (_table(title, scores, columns) for columns in COLUMNS)
    widest = next(tables)
    if console is None or not console.is_terminal or _width(widest, console) <= console.width:
        return widest
    narrower = list(tables)
    return next((table for table in narrower if _width(table, console) <= console.width), narrower[-1])


def _width(table: Table, console: Console) -> int:
    wide = console.options.update(width=10_000)
    return Measurement.get(console, wide, table).maximum


def _table(title: str, scores: ClassScores, columns: Sequence[str]) -> Table:
    rows = [(name, *(_cell(row, column) for column in columns)) for name, row in scores.rows()]
    table = Table(title=title, title_justify="left", caption="percent, except counts", caption_justify="left")
    table.add_column("sequence", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        if row[0] == COMBINED:
            table.add_section()
        table.add_row(*row, style="bold" if row[0] == COMBINED else "")
    return table


def _cell(scores: Scores, column: str) -> str:
    """Return a count, or a ratio, or ``-``: for a class that does not occur, and for a ratio without ground truth."""
    value = scores[column]
    if not (scores["GT_Dets"] or (scores["Dets"] and isinstance(value, int))):
        return "-"  # TrackEval reports 0
    return f"{value:.2f}" if isinstance(value, float) else str(value)
