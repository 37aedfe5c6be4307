"""``--init FILE``: initial weights of a training run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from os import PathLike

from mot_core.checkpoints import ImportReport, load_renamed, read_checkpoint
from mot_core.checkpoints.report import state_dict_in
from mot_core.extras import needs
from mot_core.trackers import Tracker
from mot_core.trackers.released_plugins import import_released

with needs("lightning", "train", "training"):
    from lightning import LightningModule


def load_weights(model: LightningModule, path: str | PathLike[str]) -> ImportReport:
    """Load released weights, or a mot-core checkpoint with the same or other classes, into a new tracker.

    Raises:
        FileNotFoundError: If ``path`` does not exist.
        ValueError: If the weights do not match the model.
        TypeError: If the model is not a mot_core tracker.
    """
    if not isinstance(model, Tracker):
        raise TypeError(
            f"--init supports mot_core trackers only, got {type(model).__name__}; load the weights in your own code"
        )
    content = read_checkpoint(path)
    record, state = content.get("tracker"), state_dict_in(content, path)
    if record is None:
        return import_released(model, state)
    if record.get("class") != type(model).__name__:
        raise ValueError(f"--init {path}: expected weights of a {type(model).__name__}, got a {record.get('class')}")
    return load_renamed(
        model,
        state,
        lambda name: None if name.startswith("plugins.") else name,
        source=f"a {type(model).__name__}",
        fresh=model.fresh_keys,
    )


def short_report(report: ImportReport) -> str:
    """Summarize how many keys were used, and which were not loaded.

    >>> print(short_report(ImportReport({"a": "b"}, {"c.w": "no such key in the model"}, ("d.e.x", "d.e.y"), {})))
    1 key used, 1 unused, 2 missing, 0 re-made
    unused: c (1)
    missing, newly initialized: d.e (2)
    """
    lines = [str(report).partition("\n")[0]]
    lines += _line("unused", (key for key, why in report.unused.items() if why != "re-made"))
    lines += _line("missing, newly initialized", report.missing)
    lines += [f"re-made: {key} ({shapes})" for key, shapes in report.remade.items()]
    return "\n".join(lines)


def _line(title: str, keys: Iterable[str]) -> list[str]:
    counts = Counter(".".join(key.split(".")[:-1][:2]) or key for key in keys)
    return [f"{title}: {', '.join(f'{name} ({count})' for name, count in counts.items())}"] if counts else []
