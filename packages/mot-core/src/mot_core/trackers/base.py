"""The base class of all trainable trackers: training, validation, tracking, plug-ins, optimizer and checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes
from mot_core.checkpoints import ImportReport
from mot_core.evaluation import TrackingMetrics
from mot_core.extras import needs
from mot_core.plugins import Context, Plugin, Plugins
from mot_core.structures import ClipBatch, ClipOutput, TrackerSpec, Tracks
from mot_core.trackers.checkpoint import constructor_arguments, describe, read_tracker, without_training_plugins
from mot_core.trackers.outputs import HIGHEST_SCORE, FrameTracks, zero_explanation
from mot_core.trackers.settings import OptimizerSettings

with needs("lightning", "train", "a tracker that is trained"):
    from lightning import LightningModule


class Tracker(LightningModule, ABC):
    """A tracker that trains on clips, tracks frame by frame and accepts plug-ins. It assumes no kind of detector.

    A subclass implements :attr:`spec`, :meth:`clip_losses`, :meth:`track_frame` and :meth:`reset`. It must draw the
    random numbers of a training step from :meth:`generator`, so that they depend on seed, step and clip only, and not
    on the number of processes.

    Args:
        optimizer: Optimizer and learning-rate schedule; the defaults of :class:`OptimizerSettings`.
        seed: Seed for all random draws during training.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()
    """Capabilities offered to plug-ins, see :data:`mot_core.plugins.CAPABILITIES`."""
    accepts: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Non-default options that the tracker supports, see :data:`mot_core.plugins.OPTIONS`."""

    tracking_parameters: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments that affect tracking only, such as thresholds. `mot track` offers a flag for each."""

    configs: ClassVar[tuple[str, ...]] = ()
    """Names of the shipped configs. The first one fits the released weights: `mot import --tracker NAME` uses it."""

    fresh_keys: ClassVar[str] = r"(?!)"
    """Regular expression of state-dict keys, of class heads or optional parts; `--init` may leave them new."""

    arguments: dict[str, Any]
    resize: dict[str, Any] | None = None
    """Frame resizing used in training, read from the checkpoint: fields of :class:`mot_core.data.Augmentation`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Tracker:
        """Record the arguments, so that a checkpoint can rebuild the tracker."""
        tracker: Tracker = super().__new__(cls)
        object.__setattr__(tracker, "arguments", constructor_arguments(cls, args, kwargs))
        return tracker

    def __init__(self, optimizer: OptimizerSettings | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.optimizer = optimizer or OptimizerSettings()
        self.seed = seed
        self.plugins = Plugins()
        self.options = self.plugins.options
        self.val_metrics = TrackingMetrics()
        self.test_metrics = TrackingMetrics()
        self._stream: tuple[str, int] | None = None  # sequence and number of the last tracked frame
        self._first = 0
        self._tracking: Context | None = None
        self._highest: Tensor | None = None  # score of a detection in the current or last validation or test

    # Implemented by each tracker.

    @property
    @abstractmethod
    def spec(self) -> TrackerSpec:
        """The description of the tracker that plug-ins receive."""

    @abstractmethod
    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """Return the tracker's own weighted losses for a batch of clips, by name, and all predictions."""

    @abstractmethod
    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Track the next frame of a stream, given as one clip of one frame."""

    @abstractmethod
    def reset(self) -> None:
        """Drop all tracks before a new stream starts."""

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released state dict of this tracker, or of a detector to start from, and report every key.

        Raises:
            ValueError: If no released weights exist for this tracker, or the architecture differs.
        """
        raise ValueError(f"{type(self).__name__} cannot import released weights; pass one of its own checkpoints")

    # Overridden where the memory of training is known.

    @property
    def frame_network(self) -> nn.Module | None:
        """The network that runs on every frame, ``(B, 3, H, W)`` to a dataclass of tensors; None if unknown.

        Its activations dominate the memory of a training step, see :func:`estimate_memory`.
        """
        return None

    def frames_in_memory(self, clip_length: int) -> int:
        """Return the number of frames of a clip whose activations are stored at once for the backward pass."""
        return clip_length

    @property
    def memory_advice(self) -> list[str]:
        """Arguments of this tracker that would reduce the memory of a training step, most effective first."""
        return []

    # Plug-ins.

    def attach(self, plugin: Plugin) -> None:
        """Attach a plug-in. Must be called before training starts."""
        self.plugins.attach(plugin)

    def setup(self, stage: str | None = None) -> None:
        """Set up the plug-ins once. Lightning calls this; without Lightning, the first use does."""
        self.options = self.plugins.setup(self.spec)

    # Training.

    def losses(
        self,
        batch: ClipBatch,
        *,
        epoch: int = 0,
        step: int = 0,
        log: Callable[[str, Any], None] = lambda name, value: None,
    ) -> tuple[dict[str, Tensor], ClipOutput]:
        """Compute all losses of a batch, including those of plug-ins; sum them and call ``backward``.

        Args:
            batch: Clips with targets.
            epoch: Training epoch, from 0.
            step: Optimizer step, from 0. Random draws depend on it.
            log: Called with the name and value of every loss, before plug-in weights, and with plug-in reports.

        Returns:
            The losses by name, and the predictions they were computed on.

        Raises:
            ValueError: If the clips have no targets.
        """
        if batch.targets is None:
            raise ValueError(f"batch: clips of {', '.join(batch.sequences)} have no ground truth to train on")
        self.setup()
        with self._step_randomness(step):
            ctx = self.plugins.start_clip(training=self.training, epoch=epoch, step=step, log=log)
            own, clip = self.clip_losses(batch, ctx)
            for name, value in own.items():
                log(name, value.detach())
            clip = replace(clip, sequences=batch.sequences)
        return {**own, **self.plugins.losses(clip, ctx, own)}, clip

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Compute and log the total loss of a batch."""

        def log(name: str, value: Any) -> None:
            self.log(f"train/{name}", value, batch_size=len(batch))

        losses, _ = self.losses(batch, epoch=self.current_epoch, step=self.global_step, log=log)
        # Sum in a fixed order: with torch.sum, the last bit would depend on the number of losses.
        total = sum(losses.values(), torch.zeros_like(next(iter(losses.values()))))
        if not torch.isfinite(total):
            bad = [name for name, value in losses.items() if not torch.isfinite(value)]
            raise ValueError(
                f"step {self.global_step}: the loss is {total.item()} ({', '.join(bad)}) on clips of "
                f"{', '.join(batch.sequences)}; try a lower learning rate or gradient clipping"
            )
        self.log("train/loss", total.detach(), batch_size=len(batch), prog_bar=True)
        return total

    def generator(self, step: int, *key: object) -> torch.Generator:
        """Return a random generator seeded by the step and ``key`` (for example the clip): equal on every process."""
        return torch.Generator().manual_seed(crc32(repr((self.seed, step, *key)).encode()))

    @contextmanager
    def _step_randomness(self, step: int) -> Iterator[None]:
        """Seed dropout by step and process, so that a resumed training equals an uninterrupted one."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(crc32(repr((self.seed, step, "process", self.global_rank)).encode()))
            yield

    # Tracking.

    @torch.no_grad()
    def track(self, batch: ClipBatch) -> Tracks:
        """Track the next frame of a stream.

        A new stream starts when the sequence changes or the frame number does not increase.

        Args:
            batch: One clip of one frame.

        Returns:
            The tracks, with boxes in pixels of the original image.

        Raises:
            ValueError: If the tracker is in training mode, or the batch has more than one clip or frame.
        """
        if self.training:
            raise ValueError("track: expected a tracker in evaluation mode, got training mode; call eval() first")
        if len(batch) != 1 or batch.num_frames != 1:
            raise ValueError(f"batch: expected one frame of one clip, got {batch.num_frames} of {len(batch)}")
        self.setup()
        sequence, frame = batch.sequences[0], int(batch.times[0, 0])
        if self._stream is None or self._tracking is None or sequence != self._stream[0] or frame <= self._stream[1]:
            self.reset()
            self._tracking = self.plugins.start_clip(training=False, log=self._log_tracking)
            self._first = frame
        self._stream = sequence, frame
        found = self.track_frame(batch, self._tracking.at(frame - self._first))
        return Tracks(found.ids, _to_pixels(found.boxes_cxcywh, batch), found.scores, found.classes)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> Tracks:  # type: ignore[override]  # for callbacks
        """Track a frame and score it against the ground truth."""
        return self._score(batch, self.val_metrics)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> Tracks:  # type: ignore[override]  # for callbacks
        """Track a frame and score it against the ground truth."""
        return self._score(batch, self.test_metrics)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tracks:
        """Track a frame."""
        return self.track(batch)

    def on_validation_epoch_start(self) -> None:
        """Start every validation with new streams."""
        self._stream = self._highest = None

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log HOTA, MOTA, IDF1 and their components."""
        self._report("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log HOTA, MOTA, IDF1 and their components."""
        self._report("test", self.test_metrics)

    def explain_zero(self) -> str:
        """Return the reason why the last validation found nothing, for a HOTA of 0."""
        highest = None if self._highest is None else float(self._highest)
        return zero_explanation(highest, {name: getattr(self, name, None) for name in self.tracking_parameters})

    def _log_tracking(self, name: str, value: Any) -> None:
        if name == HIGHEST_SCORE:
            self._highest = value if self._highest is None else torch.maximum(self._highest, value)

    def _score(self, batch: ClipBatch, metrics: TrackingMetrics) -> Tracks:
        tracks = self.track(batch)
        if batch.targets is None:
            raise ValueError(f"{batch.sequences[0]} has no ground truth to score against; use predict instead")
        truth = batch.targets[0]
        boxes = _to_pixels(truth.boxes_cxcywh[0], batch)
        valid, ignore = truth.valid[0], truth.extras.get("ignore")
        metrics.update(
            batch.sequences[0],
            int(batch.times[0, 0]),
            tracks.ids,
            tracks.boxes_xyxy,
            truth.ids[0][valid],
            boxes[valid],
            ignore_boxes_xyxy=None if ignore is None else boxes[ignore[0]],
        )
        return tracks

    def _report(self, stage: str, metrics: TrackingMetrics) -> None:
        scores = metrics.compute()
        self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items()}, sync_dist=False)
        metrics.reset()

    # Optimizer.

    def learning_rate_scales(self) -> dict[str, float]:
        """Return the parameter groups, each with its factor of the learning rate, in the optimizer's order."""
        return {"tracker": 1.0, "plugins": 1.0}

    def group_of(self, parameter_name: str) -> str:
        """Return the parameter group of a parameter: a key of :meth:`learning_rate_scales`."""
        return "plugins" if parameter_name.startswith("plugins.") else "tracker"

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters of the tracker and its plug-ins by group, each with its learning rate."""
        self.setup()
        scales = self.learning_rate_scales()
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in scales}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups[self.group_of(name)].append(parameter)
        return [
            {"name": name, "params": parameters, "lr": self.optimizer.lr * scales[name]}
            for name, parameters in groups.items()
            if parameters
        ]

    def configure_optimizers(self) -> Any:
        """Return AdamW and the step-wise schedule of :class:`OptimizerSettings`."""
        settings = self.optimizer
        # Fused AdamW saves a fifth of the time on CPU. On GPU it would unscale gradients after we clipped them.
        fused = all(parameter.device.type == "cpu" for parameter in self.parameters())
        groups = self.parameter_groups()
        optimizer = torch.optim.AdamW(groups, settings.lr, weight_decay=settings.weight_decay, fused=fused or None)
        if not (settings.milestones or settings.warmup_epochs):
            return optimizer
        schedule = LambdaLR(optimizer, lambda step: self._factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Set the first learning rate, now that the number of steps per epoch is known."""
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                schedule = config.scheduler
                for group, lr, factor in zip(
                    schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
                ):
                    group["lr"] = lr * factor(schedule.last_epoch)

    def _factor(self, step: int) -> float:
        # Reading the length earlier would create the loader before a checkpoint can restore its position.
        batches = self.trainer.num_training_batches
        if batches == float("inf"):
            return 1.0
        return self.optimizer.factor(step, -(-int(batches) // self.trainer.accumulate_grad_batches))

    def clip_groups(self) -> Iterator[list[nn.Parameter]]:
        """Yield the groups of parameters whose gradients are clipped together; one group of all by default."""
        yield list(self.parameters())

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradient norm of each group of :meth:`clip_groups` to the Trainer's ``gradient_clip_val``."""
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm not in (None, "norm"):
            raise ValueError(f"gradient_clip_algorithm: expected norm, got {str(gradient_clip_algorithm).lower()}")
        # Zeros of plug-ins that are switched off would change the last bit of the norm.
        idle = {one for plugin in self.plugins.values() if not plugin.weight for one in plugin.parameters()}
        for parameters in self.clip_groups():
            nn.utils.clip_grad_norm_([one for one in parameters if one not in idle], gradient_clip_val)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description that rebuilds the tracker and its plug-ins."""
        checkpoint["tracker"] = describe(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Outside of training, ignore the weights of plug-ins that act in training only and are not attached."""
        if self._trainer is None or not self._trainer.training:
            checkpoint["state_dict"] = without_training_plugins(checkpoint, list(self.plugins))

    @classmethod
    def from_checkpoint(
        cls, path: str | PathLike[str], *plugins: Plugin, recorded_plugins: bool = True, **changes: Any
    ) -> Tracker:
        """Load a tracker from a training checkpoint, in evaluation mode. ``Tracker`` itself loads any subclass.

        Args:
            path: Lightning checkpoint written by `mot fit`.
            plugins: Plug-ins it was trained with; their weights are loaded too. Pure losses can be left out.
            recorded_plugins: Rebuild the plug-ins that act in tracking from the checkpoint, found by entry point.
                If False, they must be given in ``plugins`` or the tracker runs without them.
            changes: Arguments that replace those of the training, such as thresholds.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is not a tracker checkpoint, or a plug-in it needs cannot be rebuilt.
        """
        return read_tracker(cls, path, plugins, changes, recorded_plugins=recorded_plugins)


def _to_pixels(boxes_cxcywh: Tensor, batch: ClipBatch) -> Tensor:
    """Convert boxes of the first clip to corners in pixels of the original image."""
    return denormalize_boxes(cxcywh_to_xyxy(boxes_cxcywh), batch.original_size[0])
