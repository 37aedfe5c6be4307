"""FairMOT: one network for detection and identity embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mot_core.association import AppearanceTrack
from mot_core.checkpoints import ImportReport, load_fairmot
from mot_core.nn import DenseOutput, FairMOTCriterion, FairMOTNetwork, FairMOTOutput, keep_peaks
from mot_core.plugins import Context
from mot_core.slots import slot_ids
from mot_core.structures import ClipBatch, FeaturePyramid, FrameOutput, FrameTargets, TrackerSpec
from mot_core.trackers.dense import DenseFrame, DenseTracker
from mot_core.trackers.settings import FairMOTSettings, OptimizerSettings, check_range


class FairMOT(DenseTracker):
    """FairMOT (Zhang et al., IJCV 2021, arXiv:2004.01888): centers, boxes and identity embeddings on one map.

    The network trains on clips of any length. Losses are ``heat``, ``sides`` and ``offset`` of the detector,
    ``identity`` of the embeddings, all weighted by learned uncertainties, and the ``uncertainty`` itself. The identity
    loss is that of a classifier of all people of the training set (``identities``), as in the paper, or, without one,
    distinguishes the objects of a clip. In tracking, :class:`mot_core.association.AppearanceTrack` matches the
    detections, which are the peaks of the heat map.

    Plug-ins receive the cell with the center of every object and the strongest false detections, with embeddings of
    length 1.

    Args:
        detector: Settings of the network.
        optimizer: Settings of optimizer and schedule; by default the learning rate is 1e-4 for all parameters.
        identities: Number of classes of the classifier of identities, about twice the number of people of the training
            set. 0: no classifier, which needs clips of at least two frames.
        extra_negatives: Number of false detections per frame that plug-ins see in training.
        score_threshold: Lowest score of a peak that is a detection.
        nms_threshold: IoU with a stronger detection above which a detection is dropped.
        track_threshold: Score up to which detections are ignored. Lower values bridge more occlusions but risk matching
            false detections.
        birth_threshold: Score from which a detection starts a track. Lower values find more objects, but also more
            false positives.
        max_cost: Highest cost of a match by appearance and motion.
        max_age: Number of frames for which a lost track is kept. Higher values bridge longer occlusions but risk
            identity switches.
        smoothing: Share of the earlier embedding in the moving average of a track.
        min_area: Box area in pixels of the original frame above which a track is reported.
        max_aspect: Tracks with a larger width / height than this are not reported; the authors set 1.6 for pedestrians.
        seed: Seed for all random draws during training.

    >>> from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
    >>> batch = collate([ClipDataset(SyntheticVideo(num_videos=1, num_frames=4), ClipSampling(2))[0]])
    >>> losses, clip = FairMOT(FairMOTSettings("micro", hidden=16, norm="group")).losses(batch)
    >>> len(clip.frames), sorted(losses)
    (2, ['heat', 'identity', 'offset', 'sides', 'uncertainty'])
    """

    configs = ("fairmot_mot17", "fairmot_synthetic")
    tracking_parameters = (
        "score_threshold", "nms_threshold", "track_threshold", "birth_threshold", "max_cost", "max_age", "smoothing",
        "min_area", "max_aspect",
    )  # fmt: skip
    fresh_keys = r"detector\.heat_head\.2\..*|criterion\.classifier\..*"
    detector: FairMOTNetwork

    def __init__(
        self,
        detector: FairMOTSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        identities: int = 0,
        extra_negatives: int = 10,
        score_threshold: float = 0.1,
        nms_threshold: float = 0.9,
        track_threshold: float = 0.4,
        birth_threshold: float = 0.4,
        max_cost: float = 0.4,
        max_age: float = 30,
        smoothing: float = 0.9,
        min_area: float = 100.0,
        max_aspect: float = float("inf"),
        seed: int = 0,
    ) -> None:
        association = AppearanceTrack(
            track_threshold=track_threshold,
            low_threshold=track_threshold,
            birth_threshold=birth_threshold,
            max_cost=max_cost,
            max_age=max_age,
            smoothing=smoothing,
            min_area=min_area,
            max_aspect=max_aspect,
        )
        super().__init__(
            association,
            optimizer or OptimizerSettings(lr=1e-4, backbone_scale=1.0),
            extra_negatives=extra_negatives,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            max_candidates=500,
            seed=seed,
        )
        check_range(0, 10_000_000, identities=identities)
        self.detector = (detector or FairMOTSettings()).build()
        self.criterion = FairMOTCriterion(self.detector.embed_dim, identities)

    @property
    def spec(self) -> TrackerSpec:
        """The description of the tracker that plug-ins receive."""
        return TrackerSpec(
            type(self).__name__,
            self.capabilities,
            num_classes=self.detector.num_classes,
            embed_dim=self.detector.embed_dim,
            feature_channels=self.detector.channels,
            strides=self.detector.strides,
            accepts=self.accepts,
        )

    def detect(self, images: Tensor, padding: Tensor, ctx: Context) -> tuple[FairMOTOutput, FeaturePyramid]:
        """Run the network, with ``on_features`` before the heads; in tracking, only peaks keep their scores."""
        pyramid = self.plugins.on_features(self.detector.features(images, padding), ctx)
        output = self.detector.head(pyramid.levels[0])
        if ctx.targets is None:  # in tracking
            output = replace(output, logits=keep_peaks(output.logits, output.shape))
        return output, pyramid

    def detection_losses(
        self, output: DenseOutput, targets: FrameTargets, image_size: Tensor, ctx: Context
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Assign the cells of the centers to objects and compute the losses of the detector."""
        assert isinstance(output, FairMOTOutput), "returned by detect"
        return self.criterion.detection(output, targets, image_size)

    def relate(
        self, frames: Sequence[FrameOutput], targets: Sequence[FrameTargets], batch: ClipBatch
    ) -> tuple[dict[str, Tensor], list[FrameOutput]]:
        """Return the loss of the identities, and the frames."""
        embeddings: list[list[Tensor]] = [[] for _ in batch.sequences]
        ids: list[list[Tensor]] = [[] for _ in batch.sequences]
        for frame, truth in zip(frames, targets, strict=True):
            assert frame.embeddings is not None, "the network predicts some"
            known = slot_ids(frame, truth)
            for clip in range(len(batch)):
                rows = known[clip] >= 0
                embeddings[clip].append(frame.embeddings[clip, rows])
                ids[clip].append(known[clip, rows])
        joined = [torch.cat(one) for one in embeddings], [torch.cat(one) for one in ids]
        return self.criterion.identity(*joined, batch.sequences), list(frames)

    def association_inputs(self, now: DenseFrame) -> dict[str, Tensor]:
        """Return the embeddings of the detections."""
        assert now.frame.embeddings is not None, "the network predicts some"
        return {"embeddings": now.frame.embeddings[0, now.rows].double()}

    # Weights.

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released FairMOT.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys. Heat maps of another number of classes stay newly initialized, as does the criterion.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        report = load_fairmot(self.detector, state).within("detector.")
        return replace(report, missing=(*report.missing, *(f"criterion.{one}" for one in self.criterion.state_dict())))
