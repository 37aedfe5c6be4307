"""The base class of our trackers: what training, validation and tracking have in common, whatever the tracker does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any, ClassVar
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.checkpoint import checkpoint

from mot_core.boxes import cxcywh_to_xyxy
from mot_core.checkpoints import ImportReport
from mot_core.evaluation import TrackingMetrics
from mot_core.extras import needs
from mot_core.nn import DeformableDETR, DetectorOutput
from mot_core.plugins import Context, Plugin, Plugins
from mot_core.structures import ClipBatch, ClipOutput, FeaturePyramid, TrackerSpec, Tracks, TrackState
from mot_core.trackers.checkpoint import constructor_arguments, describe, read_tracker
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings

with needs("lightning", "train", "a tracker that is trained"):
    from lightning import LightningModule


class Tracker(LightningModule, ABC):
    """A tracker that learns from clips and tracks frame by frame. Plug-ins are attached to it.

    A subclass has a ``detector``, gives the losses of a batch of clips (:meth:`clip_losses`) and the tracks of a frame
    (:meth:`track_frame`). All random numbers of a training step depend on ``seed``, step and clip alone, not on the
    number of processes or what was drawn before: see :meth:`generator`.

    Args:
        detector: settings of the detector.
        optimizer: settings of optimiser and schedule.
        checkpointing: compute the detector again in backward, frame by frame, instead of keeping what backward needs.
        track_attention: track queries attend to each other in the decoder.
        seed: of what is drawn in training.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()
    """What plug-ins can use, see :data:`mot_core.plugins.CAPABILITIES`."""
    accepts: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Options beside the defaults that the tracker can serve, see :data:`mot_core.plugins.OPTIONS`."""

    tracking_parameters: ClassVar[tuple[str, ...]] = ()
    """Arguments that act in tracking alone, as thresholds: ``mot track`` has flags for them."""

    detector: DeformableDETR
    arguments: dict[str, Any]
    resize: dict[str, Any] | None = None
    """How frames were resized in training, out of a checkpoint: fields of :class:`mot_core.data.Augmentation`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Tracker:
        """Remembers the arguments: a checkpoint says with which the tracker is built again."""
        tracker: Tracker = super().__new__(cls)
        object.__setattr__(tracker, "arguments", constructor_arguments(cls, args, kwargs))
        return tracker

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        checkpointing: bool = False,
        track_attention: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer or OptimizerSettings()
        self.checkpointing = checkpointing
        self.seed = seed
        self.detector = (detector or DetectorSettings()).build(track_attention=track_attention)
        self.plugins = Plugins()
        self.options = self.plugins.options
        self.val_metrics = TrackingMetrics()
        self.test_metrics = TrackingMetrics()
        self._stream: tuple[str, int] | None = None  # sequence and frame that were tracked last
        self._first = 0
        self._tracking: Context | None = None

    # What a tracker is.

    @abstractmethod
    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """The tracker's own losses of a batch of clips by name, weighted, and all that was predicted."""

    @abstractmethod
    def track_frame(self, batch: ClipBatch, ctx: Context) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The next frame of a stream, one clip of one frame.

        Returns:
            ``(N,)`` int64 identities from 0, ``(N, 4)`` boxes (centre and size in [0, 1]), ``(N,)`` scores and ``(N,)``
            int64 class labels of the tracks that are seen in it.
        """

    @abstractmethod
    def reset(self) -> None:
        """Drop the tracks: a new stream begins."""

    @abstractmethod
    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released state dict of this tracker, or of a detector to start from; tells every key."""

    @property
    def spec(self) -> TrackerSpec:
        """What plug-ins are told."""
        detector = self.detector
        box_heads = detector.decoder.box_heads
        return TrackerSpec(
            type(self).__name__,
            self.capabilities,
            num_classes=detector.num_classes,
            embed_dim=detector.embed_dim,
            feature_channels=(detector.embed_dim,) * len(detector.strides),
            strides=detector.strides,
            decoder_layers=len(box_heads),
            box_head=box_heads[-1],
            class_head=detector.class_heads[-1],
            accepts=self.accepts,
        )

    # Plug-ins.

    def attach(self, plugin: Plugin) -> None:
        """Add a plug-in, before training starts."""
        self.plugins.attach(plugin)

    def setup(self, stage: str | None = None) -> None:
        """Set up the plug-ins, once; Lightning calls it, and so does the first use without Lightning."""
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
        """All losses of a batch by name, those of the plug-ins too; add them up and call ``backward``.

        Args:
            batch: clips with targets.
            epoch: of the training.
            step: of the optimiser: what is drawn depends on it.
            log: gets the value of every loss by name, without the weights of plug-ins, and what else plug-ins report.

        Raises:
            ValueError: the clips have no targets.
        """
        if batch.targets is None:
            raise ValueError(f"clips of {', '.join(batch.sequences)} have no ground truth to train on")
        self.setup()
        with self._own_randomness(step):
            ctx = self.plugins.start_clip(training=self.training, epoch=epoch, step=step, log=log)
            own, clip = self.clip_losses(batch, ctx)
            for name, value in own.items():
                log(name, value.detach())
            return {**own, **self.plugins.losses(clip, ctx, own)}, clip

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Lightning's training step."""

        def log(name: str, value: Any) -> None:
            self.log(f"train/{name}", value, batch_size=len(batch))

        losses, _ = self.losses(batch, epoch=self.current_epoch, step=self.global_step, log=log)
        # One by one: the order in which torch.sum adds, and so the last bit, would depend on how many there are.
        total = sum(losses.values(), torch.zeros_like(next(iter(losses.values()))))
        if not torch.isfinite(total):
            bad = [name for name, value in losses.items() if not torch.isfinite(value)]
            raise ValueError(
                f"step {self.global_step}: the loss is {total.item()} ({', '.join(bad)}) on clips of "
                f"{', '.join(batch.sequences)}; a lower learning rate or gradient clipping may help"
            )
        self.log("train/loss", total.detach(), batch_size=len(batch), prog_bar=True)
        return total

    def generator(self, step: int, *key: object) -> torch.Generator:
        """Random numbers for a step and whatever else is named, as the clip: the same on every process."""
        return torch.Generator().manual_seed(crc32(repr((self.seed, step, *key)).encode()))

    @contextmanager
    def _own_randomness(self, step: int) -> Iterator[None]:
        """Dropout draws what step and process say: a resumed training goes on as one without interruption."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(crc32(repr((self.seed, step, "process", self.global_rank)).encode()))
            yield

    def detect(
        self, images: Tensor, padding: Tensor, ctx: Context, tracks: TrackState | None = None
    ) -> tuple[DetectorOutput, FeaturePyramid]:
        """The detector on one frame of each clip (or on several frames), with the hooks of the plug-ins.

        Args:
            images: ``(B, 3, H, W)``.
            padding: ``(B, H, W)`` bool, True where padded.
            ctx: of this call.
            tracks: queries to decode beside the learned ones.
        """

        def run(images: Tensor) -> tuple[DetectorOutput, FeaturePyramid]:
            pyramid = self.plugins.on_features(self.detector.features(images, padding), ctx)
            memory = self.detector.encode(pyramid)
            return self.detector.decode(
                pyramid, memory, tracks, lambda layer, hidden: self.plugins.on_decoder_layer(layer, hidden, ctx)
            ), pyramid

        if self.checkpointing and self.training and torch.is_grad_enabled():
            result: tuple[DetectorOutput, FeaturePyramid] = checkpoint(run, images, use_reentrant=False)
            return result
        return run(images)

    # Tracking.

    @torch.no_grad()
    def track(self, batch: ClipBatch) -> Tracks:
        """The tracks of the next frame of a stream, in pixels of the original images.

        A new stream begins with another sequence, or when the number of the frame does not rise.

        Args:
            batch: one clip of one frame.

        Raises:
            ValueError: the tracker is in training mode, or there is more than one clip or frame.
        """
        if self.training:
            raise ValueError("a tracker tracks in evaluation mode: call eval() first")
        if len(batch) != 1 or batch.num_frames != 1:
            raise ValueError(f"track takes one frame of one clip, got {batch.num_frames} of {len(batch)}")
        self.setup()
        sequence, frame = batch.sequences[0], int(batch.times[0, 0])
        if self._stream is None or self._tracking is None or sequence != self._stream[0] or frame <= self._stream[1]:
            self.reset()
            self._tracking = self.plugins.start_clip(training=False)
            self._first = frame
        self._stream = sequence, frame
        ids, boxes, scores, classes = self.track_frame(batch, self._tracking.at(frame - self._first))
        height, width = batch.original_size[0].tolist()
        return Tracks(ids, cxcywh_to_xyxy(boxes) * boxes.new_tensor([width, height, width, height]), scores, classes)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> Tracks:  # type: ignore[override]  # for callbacks
        """Track a frame and compare it with the ground truth."""
        return self._score(batch, self.val_metrics)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> Tracks:  # type: ignore[override]  # for callbacks
        """Track a frame and compare it with the ground truth."""
        return self._score(batch, self.test_metrics)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> Tracks:
        """Track a frame."""
        return self.track(batch)

    def on_validation_epoch_start(self) -> None:
        """Every validation begins with new streams."""
        self._stream = None

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        """Log HOTA, MOTA, IDF1 and what belongs to them."""
        self._report("val", self.val_metrics)

    def on_test_epoch_end(self) -> None:
        """Log HOTA, MOTA, IDF1 and what belongs to them."""
        self._report("test", self.test_metrics)

    def _score(self, batch: ClipBatch, metrics: TrackingMetrics) -> Tracks:
        tracks = self.track(batch)
        if batch.targets is None:
            raise ValueError(f"{batch.sequences[0]} has no ground truth to score against; use predict")
        truth = batch.targets[0]
        height, width = batch.original_size[0].tolist()
        boxes = cxcywh_to_xyxy(truth.boxes_cxcywh[0]) * truth.boxes_cxcywh.new_tensor([width, height, width, height])
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

    # The optimiser.

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Backbone, sampling points, everything else of the tracker, and the plug-ins, each with its learning rate."""
        self.setup()
        settings = self.optimizer
        scales = {"backbone": settings.backbone_scale, "points": settings.points_scale, "tracker": 1.0, "plugins": 1.0}
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in scales}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups[_group(name)].append(parameter)
        return [
            {"name": name, "params": parameters, "lr": settings.lr * scales[name]}
            for name, parameters in groups.items()
            if parameters
        ]

    def configure_optimizers(self) -> Any:
        """AdamW and the schedule of the settings, step by step."""
        settings = self.optimizer
        # A fifth of the time on a CPU. Elsewhere mixed precision would unscale gradients after we have clipped them.
        fused = all(parameter.device.type == "cpu" for parameter in self.parameters())
        groups = self.parameter_groups()
        optimizer = torch.optim.AdamW(groups, settings.lr, weight_decay=settings.weight_decay, fused=fused or None)
        if not (settings.milestones or settings.warmup_epochs):
            return optimizer
        schedule = LambdaLR(optimizer, lambda step: self._factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Set the first learning rate: only now the length of an epoch is known."""
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                schedule = config.scheduler
                for group, lr, factor in zip(
                    schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
                ):
                    group["lr"] = lr * factor(schedule.last_epoch)

    def _factor(self, step: int) -> float:
        # Whoever asks for the length earlier makes the loader before a checkpoint can tell it where to go on.
        batches = self.trainer.num_training_batches
        if batches == float("inf"):
            return 1.0
        return self.optimizer.factor(step, -(-int(batches) // self.trainer.accumulate_grad_batches))

    def clip_groups(self) -> Iterator[list[nn.Parameter]]:
        """Parameters whose gradients are clipped together: by default all."""
        yield list(self.parameters())

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients of each group of :meth:`clip_groups` to the Trainer's ``gradient_clip_val``."""
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm not in (None, "norm"):
            raise ValueError(f"gradient_clip_algorithm must be norm, got {str(gradient_clip_algorithm).lower()}")
        for parameters in self.clip_groups():
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    # Checkpoints.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to build the tracker again."""
        checkpoint["tracker"] = describe(self)

    @classmethod
    def from_checkpoint(cls, path: str | PathLike[str], *plugins: Plugin, **changes: Any) -> Tracker:
        """The tracker in a checkpoint of its training, in evaluation mode; ``Tracker`` itself takes any of ours.

        Args:
            path: a checkpoint of Lightning.
            plugins: those with which it was trained; they get their weights too. Those that were only losses can be
                left out.
            changes: arguments in place of those of the training, as thresholds.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no checkpoint of a tracker, or plug-ins that it needs are not given.
        """
        return read_tracker(cls, path, plugins, changes)


def _group(name: str) -> str:
    if name.startswith("plugins."):
        return "plugins"
    if name.startswith("detector.backbone."):
        return "backbone"
    return "points" if "sampling_offsets" in name or ".reference_points." in name else "tracker"
