"""ByteTrack with a trainable YOLOX."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mot_core.association import ByteTrack
from mot_core.checkpoints import ImportReport, load_yolox
from mot_core.nn import YOLOX, DenseOutput, YOLOXCriterion, YOLOXOutput
from mot_core.plugins import Context
from mot_core.structures import FeaturePyramid, FrameTargets, TrackerSpec
from mot_core.trackers.dense import DenseTracker
from mot_core.trackers.settings import OptimizerSettings, YOLOXSettings


class YOLOXByteTrack(DenseTracker):
    """ByteTrack (Zhang et al., ECCV 2022, arXiv:2110.06864) with its detector, YOLOX (Ge et al. 2021).

    The detector trains on clips of any length, also on single images (``clip_length: 1``). Losses are ``box`` (weight
    5), ``object``, ``class`` and, from ``l1_epoch`` on, ``l1``; each is the sum over all images, divided by the number
    of cells with an object. In tracking, :class:`mot_core.association.ByteTrack` matches the detections.

    Plug-ins receive the best cell of every object, and embeddings if ``detector.embed_dim`` is set. They learn from
    plug-ins only.

    Args:
        detector: Settings of the detector.
        optimizer: Settings of optimizer and schedule; by default the learning rate is 1e-4 for all parameters.
        l1_epoch: Zero-based epoch from which the L1 loss of the boxes is added. None: never.
        extra_negatives: Number of false detections per frame that plug-ins see in training.
        score_threshold: Lowest score of a detection that takes part in non-maximum suppression.
        nms_threshold: IoU with a stronger detection above which a detection is dropped.
        track_threshold: Detections above this score are confident and matched first.
        low_threshold: Detections between this score and ``track_threshold`` can only continue existing tracks. Lower
            values bridge more occlusions but risk matching false detections.
        birth_threshold: Score from which a detection starts a track. Lower values find more objects, but also more
            false positives.
        max_cost: Highest cost, 1 - IoU x score, of a confident match.
        max_age: Number of frames for which a lost track is kept. Higher values bridge longer occlusions but risk
            identity switches.
        min_area: Box area in pixels of the original frame above which a track is reported.
        max_aspect: Tracks with a larger width / height than this are not reported; the authors set 1.6 for pedestrians.
        seed: Seed for all random draws during training.

    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    >>> batch = collate([ClipDataset(SyntheticVideo(num_videos=1, num_frames=4), ClipSampling(2))[0]])
    >>> losses, clip = YOLOXByteTrack(YOLOXSettings("micro", norm="group")).losses(batch)
    >>> len(clip.frames), sorted(losses)
    (2, ['box', 'class', 'object'])
    """

    configs = ("yolox_bytetrack_mot17", "yolox_bytetrack_dancetrack", "yolox_bytetrack_synthetic")
    tracking_parameters = (
        "score_threshold", "nms_threshold", "track_threshold", "low_threshold", "birth_threshold", "max_cost",
        "max_age", "min_area", "max_aspect",
    )  # fmt: skip
    fresh_keys = r"detector\.head\.class_heads\..*"
    detector: YOLOX

    def __init__(
        self,
        detector: YOLOXSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        l1_epoch: int | None = None,
        extra_negatives: int = 10,
        score_threshold: float = 0.01,
        nms_threshold: float = 0.7,
        track_threshold: float = 0.6,
        low_threshold: float = 0.1,
        birth_threshold: float = 0.7,
        max_cost: float = 0.9,
        max_age: float = 30,
        min_area: float = 100.0,
        max_aspect: float = float("inf"),
        seed: int = 0,
    ) -> None:
        association = ByteTrack(
            track_threshold=track_threshold,
            low_threshold=low_threshold,
            birth_threshold=birth_threshold,
            max_cost=max_cost,
            max_age=max_age,
            min_area=min_area,
            max_aspect=max_aspect,
        )
        super().__init__(
            association,
            optimizer or OptimizerSettings(lr=1e-4, weight_decay=5e-4, backbone_scale=1.0),
            extra_negatives=extra_negatives,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            seed=seed,
        )
        self.detector = (detector or YOLOXSettings()).build()
        self.criterion = YOLOXCriterion()
        self.l1_epoch = l1_epoch

    @property
    def spec(self) -> TrackerSpec:
        """The description of the tracker that plug-ins receive."""
        detector = self.detector
        missing = frozenset() if detector.embed_dim else frozenset({"embeddings"})
        return TrackerSpec(
            type(self).__name__,
            self.capabilities - missing,
            num_classes=detector.num_classes,
            embed_dim=detector.embed_dim or None,
            feature_channels=detector.channels,
            strides=detector.strides,
            accepts=self.accepts,
        )

    def detect(self, images: Tensor, padding: Tensor, ctx: Context) -> tuple[YOLOXOutput, FeaturePyramid]:
        """Run the detector, with ``on_features`` between pyramid and head."""
        pyramid = self.plugins.on_features(self.detector.features(images, padding), ctx)
        return self.detector.head(pyramid.levels), pyramid

    def detection_losses(
        self, output: DenseOutput, targets: FrameTargets, image_size: Tensor, ctx: Context
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Assign cells to objects with SimOTA and compute the losses; the quality of a cell is its overlap."""
        assert isinstance(output, YOLOXOutput), "returned by detect"
        l1 = self.l1_epoch is not None and ctx.epoch >= self.l1_epoch
        losses, found = self.criterion(output, targets, image_size, l1=l1)
        # Distributed training needs every parameter in the graph, also without a plug-in that uses embeddings.
        branch = [one for name, one in self.detector.head.named_parameters() if name.startswith("embedding_")]
        losses["object"] = losses["object"] + sum(0 * one.sum() for one in branch)
        return losses, found.gt_index, found.iou

    # Weights.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released ByteTrack, or a YOLOX trained on COCO as initialization.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. Class heads of another number of classes and the branch of embeddings stay newly
            initialized.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        return load_yolox(self.detector, state).within("detector.")
