"""Videos of the tracks in validation."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from mot_core.callbacks.folders import run_folder
from mot_core.data import IMAGE_MEAN, IMAGE_STD
from mot_core.extras import require
from mot_core.io import BoxTable, Sequence
from mot_core.structures import ClipBatch, Tracks
from mot_core.visualization import save_sheet, save_video


class TrackVideo(Callback):
    """Draw the tracks of the first sequences of a validation into ``tracks/epoch-003-NAME.mp4``.

    Frames are taken from the batches, so that synthetic video without files works too. Only the main process draws.
    A W&B logger also receives them, as ``val/tracks/NAME``.

    Args:
        every_n_epochs: Epochs between videos in training; ``mot validate`` always draws.
        num_sequences: Number of sequences to draw.
        max_frames: Largest number of frames per sequence, from its start.
        kind: ``"video"`` (needs the extra ``[video]``; falls back to sheets with a message) or ``"sheet"``, a PNG of
            several frames (needs ``[plot]``).
        folder: Folder of the files. None: ``tracks`` in the folder of the run.

    >>> TrackVideo(every_n_epochs=5).max_frames
    100
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        num_sequences: int = 1,
        max_frames: int = 100,
        kind: Literal["video", "sheet"] = "video",
        folder: str | Path | None = None,
    ) -> None:
        numbers = {"every_n_epochs": every_n_epochs, "num_sequences": num_sequences, "max_frames": max_frames}
        for name, value in numbers.items():
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if kind not in ("video", "sheet"):
            raise ValueError(f"kind: expected 'video' or 'sheet', got {kind!r}")
        self.every_n_epochs = every_n_epochs
        self.num_sequences = num_sequences
        self.max_frames = max_frames
        self.kind = kind
        self.folder = folder
        self._path = Path()
        self._recordings: dict[str, _Recording] | None = None  # None: no recording in this epoch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the packages for drawing before training starts."""
        if self.kind == "video":
            try:
                require("video", "drawing a video")
            except ModuleNotFoundError as error:
                rank_zero_info(f"TrackVideo saves sheets of frames instead of videos: {error}")
                self.kind = "sheet"
        if self.kind == "sheet":
            require("plot", "drawing")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start recording if this epoch is drawn."""
        self._discard()
        due = trainer.state.fn == TrainerFn.VALIDATING or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            self._path = run_folder(trainer) / "tracks" if self.folder is None else Path(self.folder)
            self._recordings = {} if trainer.is_global_zero else None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Record a frame and its tracks."""
        if self._recordings is None:
            return
        sequence = batch.sequences[0]
        if sequence not in self._recordings and len(self._recordings) < self.num_sequences:
            self._recordings[sequence] = _Recording(sequence)
        recording = self._recordings.get(sequence)
        if recording is not None and recording.length < self.max_frames:
            recording.add(batch, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and save the recordings."""
        for name, recording in (self._recordings or {}).items():
            path = self._path / f"epoch-{trainer.current_epoch:03d}-{name.replace('/', '-')}"
            if self.kind == "video":
                saved = save_video(recording.sequence(), recording.table(), path.with_name(f"{path.name}.mp4"))
            else:
                saved = save_sheet(recording.sequence(), recording.table(), path.with_name(f"{path.name}.png"))
            for logger in trainer.loggers:  # W&B has these methods
                log: Any = getattr(logger, "log_video" if self.kind == "video" else "log_image", None)
                if log is not None:
                    log(f"val/tracks/{name}", [str(saved)], step=trainer.global_step)
        self._discard()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the recordings of an interrupted validation."""
        self._discard()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the recordings of an interrupted validation."""
        self._discard()

    def _discard(self) -> None:
        for recording in (self._recordings or {}).values():
            recording.images.cleanup()
        self._recordings = None


class _Recording:
    """Frames of a sequence, stored as files to save memory, and their tracks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.images = TemporaryDirectory(prefix="mot-tracks-")
        self.first_frame = 1
        self.tracks: list[Tracks] = []

    @property
    def length(self) -> int:
        return len(self.tracks)

    def add(self, batch: ClipBatch, tracks: Tracks) -> None:
        if not self.tracks:
            self.first_frame = int(batch.times[0, 0])
        # Numbered without gaps, as the files of a sequence must be.
        image = image_of(batch)
        image.save(Path(self.images.name, f"{self.first_frame + self.length:06d}.png"), compress_level=1)
        scale = (batch.image_size[0] / batch.original_size[0]).tolist()[::-1]
        tracks = tracks.numpy()
        boxes = tracks.boxes_xyxy * np.array([*scale, *scale])
        self.tracks.append(Tracks(tracks.ids, boxes, tracks.scores))

    def sequence(self) -> Sequence:
        folder = Path(self.images.name)
        return Sequence(self.name, folder, "generic", self.length, self.first_frame, image_dir=folder, image_ext=".png")

    def table(self) -> BoxTable:
        numbers = np.arange(self.first_frame, self.first_frame + self.length)
        frames = np.repeat(numbers, [len(tracks) for tracks in self.tracks])
        return BoxTable(
            frames,
            np.concatenate([tracks.ids for tracks in self.tracks]),
            np.concatenate([tracks.boxes_xyxy for tracks in self.tracks]),
        )


def image_of(batch: ClipBatch) -> Any:
    """Return the first frame of the first clip as an image, without normalization and padding.

    >>> size = torch.tensor([[2, 3]])
    >>> grey = (torch.full((3,), 0.5) - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    >>> batch = ClipBatch(grey.view(1, 1, 3, 1, 1).expand(1, 1, 3, 4, 4), torch.zeros(1, 4, 4).bool(), size, size,
    ...                   torch.tensor([[1]]), ("clip",))
    >>> image_of(batch).size, image_of(batch).getpixel((0, 0))
    ((3, 2), (128, 128, 128))
    """
    from PIL import Image

    height, width = batch.image_size[0].tolist()
    image = batch.images[0, 0, :, :height, :width].float()
    mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    pixels = ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
