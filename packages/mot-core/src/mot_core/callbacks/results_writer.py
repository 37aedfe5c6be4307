"""Result files of testing, prediction and validation."""

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
    """Write the tracks of ``mot test`` and ``mot predict``, one MOTChallenge file per sequence, and print the scores.

    A file is written when the last frame of its sequence has been tracked, so that an interrupted run leaves complete
    files only. A sequence truncated by ``limit_test_batches`` or similar options gets no file, because it would score
    badly; a message reports it. Each process writes the files of its own sequences.

    Args:
        folder: Folder of the result files. None: ``results`` in the folder of the run.
        validation: Whether to write in validation too; in training, each validation overwrites the previous files.

    >>> ResultsWriter("runs/results").folder
    'runs/results'
    """

    def __init__(self, folder: str | Path | None = None, validation: bool = False) -> None:
        self.folder = folder
        self.validation = validation
        self._path = Path()
        self._lengths: dict[str, int] = {}
        self._frames: dict[str, list[tuple[int, Tracks]]] = {}  # of unfinished sequences
        self._written: list[Path] = []

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the lengths of the sequences."""
        self._start(trainer, pl_module, trainer.test_dataloaders)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the lengths of the sequences."""
        self._start(trainer, pl_module, trainer.predict_dataloaders)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the lengths of the sequences if validation results are requested."""
        if self.validation and not trainer.sanity_checking:
            self._start(trainer, pl_module, trainer.val_dataloaders)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store the tracks of a frame, and write the file after the last frame of a sequence."""
        self._add(batch, outputs)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store the tracks of a frame, and write the file after the last frame of a sequence."""
        self._add(batch, outputs)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store the tracks of a frame, and write the file after the last frame of a sequence."""
        if self.validation and not trainer.sanity_checking:
            self._add(batch, outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the scores of every sequence and the folder of the files."""
        assert isinstance(pl_module, Tracker)
        metrics = pl_module.test_metrics
        scores = metrics.per_sequence()  # a collective operation, called on all processes
        if scores and trainer.is_global_zero:
            both = ClassScores(scores, Scores.combine(scores.values()))
            print_scores(Evaluation(metrics.benchmark.name, {"": both}), Console())
        self._end(trainer)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the folder of the files."""
        self._end(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the folder of the files after ``mot validate``; not in training, which validates often."""
        if self.validation and trainer.state.fn == TrainerFn.VALIDATING:
            self._end(trainer)

    def _start(self, trainer: Trainer, module: LightningModule, loaders: Any) -> None:
        if not isinstance(module, Tracker):
            raise TypeError(
                f"ResultsWriter: expected a mot_core tracker, got {type(module).__name__}; remove the callback"
            )
        self._path = run_folder(trainer) / "results" if self.folder is None else Path(self.folder)
        self._frames = {}
        self._written = []
        self._lengths = {}
        for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
            dataset = getattr(loader, "dataset", None)
            if not isinstance(dataset, FrameDataset):  # needed to find the last frame of a sequence
                raise TypeError(
                    f"ResultsWriter: expected loaders over a mot_core.data.FrameDataset, got one over "
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
                f"{sequence}: no result file, because only {len(frames)} of {self._lengths[sequence]} frames "
                "were tracked"
            )
        self._frames = {}
        trainer.strategy.barrier()  # waits for the files of all processes
        if not trainer.is_global_zero:
            return
        present = sorted(self._path.glob("**/*.txt"))
        if present:
            console.print(f"results: {self._path} (MOTChallenge text files; score them with `mot eval`)")
        if trainer.world_size == 1 and (others := [path.name for path in present if path not in self._written]):
            console.print(f"note: {self._path} also contains results of other runs: {', '.join(others)}")


def _write(path: Path, frames: Iterable[tuple[int, Tracks]]) -> Path:
    try:
        with ResultWriter(path) as writer:
            for number, tracks in frames:
                writer.write(number, tracks)
    except ValueError as error:
        raise ValueError(f"{path.stem}: {error}") from error
    return path
