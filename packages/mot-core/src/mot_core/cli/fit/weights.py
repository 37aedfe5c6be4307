"""``--init FILE``: the weights that a training starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from os import PathLike

from mot_core.checkpoints import ImportReport, load_renamed, read_state_dict
from mot_core.extras import needs
from mot_core.trackers import Tracker
from mot_core.trackers.checkpoint import read_checkpoint

with needs("lightning", "train", "training"):
    from lightning import LightningModule


def load_weights(model: LightningModule, path: str | PathLike[str]) -> ImportReport:
    """Loads released weights, or a checkpoint of ours with the same or other classes, into a fresh tracker.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights do not fit.
        TypeError: the model is not a tracker of ours.
    """
    if not isinstance(model, Tracker):
        raise TypeError(
            f"--init supports mot_core trackers only, got {type(model).__name__}; load the weights in your own code"
        )
    record = read_checkpoint(path).get("tracker")
    state = read_state_dict(path)
    if record is None:
        return model.import_weights(state)
    if record["class"] != type(model).__name__:
        raise ValueError(f"{path} holds a {record['class']}, the model is a {type(model).__name__}")
    return load_renamed(
        model,
        state,
        lambda name: None if name.startswith("plugins.") else name,
        source=f"a {type(model).__name__}",
        fresh=model.class_head_keys,
    )


def short_report(report: ImportReport) -> str:
    """How many keys were used, and what was not loaded.

    >>> print(short_report(ImportReport({"a": "b"}, {"c.w": "no such key in the model"}, ("d.e.x", "d.e.y"), {})))
    1 key used, 1 unused, 2 missing, 0 re-made
    unused: c (1)
    missing, with fresh values: d.e (2)
    """
    lines = [str(report).partition("\n")[0]]
    lines += _line("unused", (key for key, why in report.unused.items() if why != "re-made"))
    lines += _line("missing, with fresh values", report.missing)
    lines += [f"re-made: {key} ({shapes})" for key, shapes in report.remade.items()]
    return "\n".join(lines)


def _line(what: str, keys: Iterable[str]) -> list[str]:
    counts = Counter(".".join(key.split(".")[:-1][:2]) or key for key in keys)
    return [f"{what}: {', '.join(f'{name} ({count})' for name, count in counts.items())}"] if counts else []
