"""Result files of test, prediction and validation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console

from mot_core.callbacks.folders import run_folder
from mot_core.data import FrameDataset
from mot_core.evaluation import ClassScores, Evaluation, Scores, print_scores
from mot_core.io import ResultWriter
from mot_core.structures import ClipBatch, Tracks
from mot_core.trackers import Tracker


class ResultsWriter(Callback):
    """Writes the tracks of ``mot test`` and ``mot predict``, a MOTChallenge file per sequence, and prints the scores.

    A file appears, complete, when the last frame of its sequence is tracked: an interrupted run leaves those of the
    sequences that it finished, and nothing of the others. Where ``limit_test_batches`` or the like cuts a sequence, it
    gets no file either, because it would score badly; a line says so. Of several processes each writes the files of
    its own sequences.

    Args:
        folder: of the files; None: ``results`` in the folder of the run.
        validation: write in validations too; while training, each takes the place of the one before.

    >>> ResultsWriter("runs/results").folder
    'runs/results'
    """

    def __init__(self, folder: str | Path | None = None, validation: bool = False) -> None:
        self.folder = folder
        self.validation = validation
        self._path = Path()
        self._lengths: dict[str, int] = {}
        self._frames: dict[str, list[tuple[int, Tracks]]] = {}  # of sequences that are not finished
        self._written: list[Path] = []

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sequences to come."""
        self._start(trainer, pl_module, trainer.test_dataloaders)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sequences to come."""
        self._start(trainer, pl_module, trainer.predict_dataloaders)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sequences to come, if validations are asked for."""
        if self.validation and not trainer.sanity_checking:
            self._start(trainer, pl_module, trainer.val_dataloaders)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep the tracks of a frame; write those of the sequence with its last one."""
        self._add(batch, outputs)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep the tracks of a frame; write those of the sequence with its last one."""
        self._add(batch, outputs)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep the tracks of a frame; write those of the sequence with its last one."""
        if self.validation and not trainer.sanity_checking:
            self._add(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the scores of every sequence and where the files are."""
        assert isinstance(pl_module, Tracker)
        metrics = pl_module.test_metrics
        scores = metrics.per_sequence()  # gathers: on all processes
        if scores and trainer.is_global_zero:
            both = ClassScores(scores, Scores.combine(scores.values()))
            print_scores(Evaluation(metrics.benchmark.name, {"": both}), Console())
        self._end(trainer)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where the files are."""
        self._end(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where the files are, if validations are asked for; in training nothing, they come often."""
        if self.validation and trainer.state.fn == TrainerFn.VALIDATING:
            self._end(trainer)

    def _start(self, trainer: Trainer, module: LightningModule, loaders: Any) -> None:
        if not isinstance(module, Tracker):
            raise TypeError(
                f"ResultsWriter writes the tracks of a mot_core.trackers.Tracker, got {type(module).__name__}"
            )
        self._path = run_folder(trainer) / "results" if self.folder is None else Path(self.folder)
        self._frames = {}
        self._written = []
        self._lengths = {}
        for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
            dataset = getattr(loader, "dataset", None)
            if not isinstance(dataset, FrameDataset):  # only it knows which frame is the last of a sequence
                raise TypeError(
                    f"ResultsWriter needs loaders over a mot_core.data.FrameDataset, got one over "
                    f"{type(dataset).__name__}"
                )
            self._lengths.update(zip(dataset.source.names.tolist(), dataset.lengths.tolist(), strict=True))

    def _add(self, batch: ClipBatch, tracks: Tracks) -> None:
        sequence = batch.sequences[0]
        frames = self._frames.setdefault(sequence, [])
        frames.append((int(batch.times[0, 0]), tracks.numpy()))
        if len(frames) == self._lengths[sequence]:
            self._written.append(_write(self._path / f"{sequence}.txt", frames))
            del self._frames[sequence]

    def _end(self, trainer: Trainer) -> None:
        console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
        for sequence, frames in self._frames.items():
            console.print(
                f"{sequence}: {len(frames)} of {self._lengths[sequence]} frames were tracked, so it has no result file"
            )
        self._frames = {}
        trainer.strategy.barrier()  # then the files of all processes are there
        if not trainer.is_global_zero:
            return
        present = sorted(self._path.glob("**/*.txt"))
        if present:
            console.print(f"results: {self._path} (MOTChallenge text files; score them with `mot eval`)")
        if trainer.world_size == 1 and (others := [path.name for path in present if path not in self._written]):
            console.print(f"note: {self._path} also holds results of other runs: {', '.join(others)}")


def _write(path: Path, frames: Iterable[tuple[int, Tracks]]) -> Path:
    try:
        with ResultWriter(path) as writer:
            for number, tracks in frames:
                writer.write(number, tracks)
    except ValueError as error:
        raise ValueError(f"{path.stem}: {error}") from error
    return path
