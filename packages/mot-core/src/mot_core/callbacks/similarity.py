"""Similarity of the embeddings of different objects, a diagnostic for identity switches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from mot_core.callbacks.folders import run_folder
from mot_core.extras import require
from mot_core.io import open_atomic
from mot_core.io.atomic import atomic_path
from mot_core.plugins import Context, Plugins
from mot_core.structures import FrameOutput
from mot_core.trackers import Tracker

HIGH = 0.9
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class EmbeddingSimilarity(Callback):
    """Cosine similarity between embeddings of different objects in a frame, measured in validation (FDTA, Figure 1).

    In DETR-based trackers, more than 80 % of the pairs exceed 0.9: embeddings separate objects from background, but not
    from each other. Logs ``val/similarity_above_0.9`` (a share), ``val/similarity_mean`` and
    ``val/similarity_median``, and saves the histogram as ``similarity/epoch-003.json`` and as a PNG (needs the extra
    ``[plot]``). Objects are the slots of the detector with a score above ``min_score``.

    Args:
        every_n_epochs: Epochs between measurements in training; ``mot validate`` always measures.
        bins: Number of histogram bins from -1 to 1; quantiles are exact up to the width of a bin.
        min_score: Score above which a slot counts as an object.
        folder: Folder of the files. None: ``similarity`` in the folder of the run.

    >>> EmbeddingSimilarity(bins=40).bins
    40
    """

    def __init__(
        self, every_n_epochs: int = 1, bins: int = 200, min_score: float = 0.5, folder: str | Path | None = None
    ) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("bins", bins)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        self.every_n_epochs = every_n_epochs
        self.bins = bins
        self.min_score = min_score
        self.folder = folder
        self._plugins: Plugins | None = None  # set while measuring
        self._sums = torch.zeros(0)
        self._draws = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the tracker, and whether plots can be drawn."""
        if not isinstance(pl_module, Tracker) or "embeddings" not in pl_module.capabilities:
            raise TypeError(
                "EmbeddingSimilarity: expected a mot_core tracker with the capability 'embeddings', got "
                f"{type(pl_module).__name__}"
            )
        try:
            require("plot", "drawing")
        except ModuleNotFoundError as error:
            self._draws = False
            rank_zero_info(f"EmbeddingSimilarity writes no plots: {error}")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start observing the embeddings of the detector."""
        self._stop()
        due = trainer.state.fn == TrainerFn.VALIDATING or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            assert isinstance(pl_module, Tracker)
            # Bin counts, number of pairs, pairs above 0.9 and sum of similarities, added up over processes.
            self._sums = torch.zeros(self.bins + 3, dtype=torch.float64)
            self._observe(pl_module.plugins)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log and save the statistics."""
        if self._plugins is None:
            return
        self._stop()
        dtype = torch.float32 if pl_module.device.type == "mps" else torch.float64
        sums = trainer.strategy.reduce(self._sums.to(pl_module.device, dtype), reduce_op="sum").cpu()
        if not sums[-3]:
            return  # no frame had two objects
        report = self._report(trainer.current_epoch, sums)
        values = {"above_0.9": report["above_0.9"], "mean": report["mean"], "median": report["quantiles"]["0.5"]}
        pl_module.log_dict({f"val/similarity_{name}": value for name, value in values.items()})
        folder = run_folder(trainer) / "similarity" if self.folder is None else Path(self.folder)
        if trainer.is_global_zero:
            path = folder / f"epoch-{trainer.current_epoch:03d}.json"
            with open_atomic(path) as file:
                json.dump(report, file, indent=1)
            if self._draws:
                _draw(report, path.with_suffix(".png"))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop observing the tracker."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop observing the tracker."""
        self._stop()

    def _observe(self, plugins: Plugins) -> None:
        """Count the pairs of every frame that the tracker passes to its plug-ins."""
        original = plugins.on_embeddings

        def on_embeddings(frame: FrameOutput, ctx: Context) -> FrameOutput:
            frame = original(frame, ctx)
            self._sums += self._count(frame)
            return frame

        plugins.on_embeddings = on_embeddings  # type: ignore[method-assign]
        self._plugins = plugins

    def _stop(self) -> None:
        if self._plugins is not None:
            del self._plugins.on_embeddings  # restores the method of the class
            self._plugins = None

    def _count(self, frame: FrameOutput) -> Tensor:
        sums = torch.zeros_like(self._sums)
        assert frame.embeddings is not None, "checked in setup"
        objects = frame.valid & (frame.logits.sigmoid().amax(-1) > self.min_score)
        for chosen, embeddings in zip(objects, frame.embeddings, strict=True):
            similarity = pair_similarities(embeddings[chosen]).double().cpu()
            sums[:-3] += torch.histc(similarity, self.bins, -1, 1)
            sums[-3:] += torch.stack([torch.tensor(len(similarity)), (similarity > HIGH).sum(), similarity.sum()])
        return sums

    def _report(self, epoch: int, sums: Tensor) -> dict[str, Any]:
        counts, (pairs, high, total) = sums[:-3], sums[-3:].tolist()
        edges = np.linspace(-1, 1, self.bins + 1)
        below = np.concatenate([[0.0], counts.cumsum(0).numpy() / pairs])
        return {
            "epoch": epoch,
            "pairs": int(pairs),
            "above_0.9": high / pairs,
            "mean": total / pairs,
            "quantiles": {str(q): float(np.interp(q, below, edges)) for q in QUANTILES},
            "edges": edges.round(6).tolist(),
            "counts": [int(count) for count in counts],
        }


def pair_similarities(embeddings: Tensor) -> Tensor:
    """Compute the cosine similarity of every pair of rows.

    Args:
        embeddings: ``(N, C)`` embeddings.

    Returns:
        ``(N * (N - 1) / 2,)`` similarities from -1 to 1.

    >>> pair_similarities(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]))
    tensor([1., 0., 0.])
    """
    directions = torch.nn.functional.normalize(embeddings.detach().float(), dim=-1)
    first, second = torch.triu_indices(len(directions), len(directions), 1, device=directions.device)
    return (directions @ directions.T)[first, second].clamp(-1, 1)


def _draw(report: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.stairs(np.array(report["counts"]) / report["pairs"], report["edges"], fill=True)
    axes.axvline(HIGH, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("cosine similarity of two objects in a frame")
    axes.set_ylabel("share of pairs")
    axes.set_title(f"epoch {report['epoch']}: {report['above_0.9']:.1%} above {HIGH}, mean {report['mean']:.2f}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
