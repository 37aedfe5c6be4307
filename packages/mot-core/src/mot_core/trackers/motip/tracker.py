"""MOTIP: per-frame detection, and identities as words that a decoder predicts from track histories."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from mot_core.association.assignment import assign
from mot_core.checkpoints import ImportReport
from mot_core.nn import (
    DetectorOutput,
    IDDecoder,
    IdentityMemory,
    SetCriterion,
    TrackTokens,
    TrajectoryModel,
    id_loss,
)
from mot_core.plugins import Context
from mot_core.slots import Trajectories, keep_slots, slot_iou, take, trajectories
from mot_core.structures import ClipBatch, ClipOutput, FrameOutput, TrackState
from mot_core.trackers.detr import DETRTracker
from mot_core.trackers.frame_batches import detect_frames, join_targets
from mot_core.trackers.motip.identity_labels import IdentityLabels, draw_labels, stack_labels
from mot_core.trackers.motip.released_weights import load_motip
from mot_core.trackers.outputs import FrameTracks, frame_output
from mot_core.trackers.settings import DetectorSettings, OptimizerSettings, check_range


class MOTIP(DETRTracker):
    """MOTIP (Gao et al., CVPR 2025, arXiv 2403.16848); imports its released weights and those contained in FDTA.

    The detector processes frames independently. In training, embeddings matched to identities form histories with
    random words, and a decoder predicts the word of every detection from them. In tracking, words denote live tracks.

    In a training step, only ``gradient_frames`` frames of a clip have gradient in the detector, as in the authors'
    code; a loss over all frames trains the detector through these frames only.

    Args:
        detector: Settings of the detector.
        optimizer: Settings of optimizer and schedule. None: those of the paper.
        num_words: Size of the vocabulary of the ID decoder, which limits the number of live tracks.
        word_dim: Channels of a word. None: as many as the embeddings.
        id_layers: Layers of the ID decoder.
        id_head_dim: Channels per head of the ID decoder; must divide the channels of embedding plus word.
        max_distance: Largest temporal distance in frames with a learned bias in the ID decoder; should be at least the
            clip length.
        groups: Number of random labelings per clip, which share one pass of the detector.
        occlusion: Probability that an identity is hidden for a random interval in training.
        switch: Probability that an identity joins a swap of embeddings in a frame in training.
        gradient_frames: Frames per clip that train the detector; fewer frames need less memory.
        id_weight: Weight of the identity loss.
        class_weight: Weight of the focal loss of the detector. The matching of objects keeps the costs of the paper.
        l1_weight: Weight of the L1 loss of the boxes.
        giou_weight: Weight of the GIoU loss of the boxes.
        detection_threshold: Score above which detections are used in tracking. Lower values find more objects, but
            also more false positives.
        newborn_threshold: Score above which an unassociated detection starts a new track.
        id_threshold: Probability below which the predicted word of a detection is rejected, so that it counts as new.
            Higher values reduce identity switches, but fragment more tracks.
        miss_tolerance: A track ends after ``miss_tolerance - 1`` consecutive frames without a detection. Higher values
            bridge longer occlusions; should be at most ``max_distance``.
        min_area: Area in pixels of the original frame above which detections are used in tracking.
        checkpointing: Recompute the detector in the backward pass, frame by frame, to save memory.
        seed: Seed for all random draws during training.

    Raises:
        ValueError: If an argument is out of range.

    >>> small = DetectorSettings("small", num_queries=20, embed_dim=64, ffn_dim=128, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> MOTIP(small, id_layers=2).id_decoder.num_heads  # heads of 32 channels: 64 of an embedding, 64 of a word
    4
    """

    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"features", "decoder_layer", "embeddings", "live_boxes", "ids", "history", "box_head"}
    )
    configs = ("motip_dancetrack", "motip_sportsmot", "motip_bft", "motip_synthetic")
    tracking_parameters = ("detection_threshold", "newborn_threshold", "id_threshold", "miss_tolerance", "min_area")

    def __init__(
        self,
        detector: DetectorSettings | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        num_words: int = 50,
        word_dim: int | None = None,
        id_layers: int = 6,
        id_head_dim: int = 32,
        max_distance: int = 30,
        groups: int = 6,
        occlusion: float = 0.5,
        switch: float = 0.5,
        gradient_frames: int = 4,
        id_weight: float = 1.0,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        detection_threshold: float = 0.3,
        newborn_threshold: float = 0.6,
        id_threshold: float = 0.2,
        miss_tolerance: int = 30,
        min_area: float = 0.0,
        checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        # Limits far above every use, so that a typing error does not fill the memory.
        check_range(1, 1_000_000, num_words=num_words, max_distance=max_distance, gradient_frames=gradient_frames)
        check_range(1, 16_384, id_head_dim=id_head_dim, word_dim=1 if word_dim is None else word_dim)
        check_range(1, 1_000, id_layers=id_layers, groups=groups)
        check_range(2, math.inf, miss_tolerance=miss_tolerance)
        check_range(0, math.inf, id_weight=id_weight, min_area=min_area)
        check_range(0, math.inf, class_weight=class_weight, l1_weight=l1_weight, giou_weight=giou_weight)
        thresholds = {"detection": detection_threshold, "newborn": newborn_threshold, "id": id_threshold}
        for name, value in {
            "occlusion": occlusion,
            "switch": switch,
            **{f"{name}_threshold": threshold for name, threshold in thresholds.items()},
        }.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a value in [0, 1], got {value}")
        super().__init__(
            detector,
            optimizer or OptimizerSettings(lr=1e-4, weight_decay=5e-4, points_scale=0.05),
            checkpointing=checkpointing,
            seed=seed,
        )
        width = self.detector.embed_dim
        self.trajectory_model = TrajectoryModel(width, 2 * width)
        self.id_decoder = IDDecoder(width, word_dim or width, num_words, id_layers, id_head_dim, max_distance)
        self.criterion = SetCriterion(class_weight=class_weight, l1_weight=l1_weight, giou_weight=giou_weight)
        self.groups, self.occlusion, self.switch = groups, occlusion, switch
        self.gradient_frames, self.id_weight = gradient_frames, id_weight
        self.detection_threshold, self.min_area = detection_threshold, min_area
        self.memory = IdentityMemory(num_words, miss_tolerance - 1, newborn_threshold, id_threshold)
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}  # last box and score of each identity

    # Training.

    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """Compute ``class``, ``l1`` and ``giou`` of the last layer, ``aux_...`` of the earlier layers, and ``id``."""
        targets = list(batch.targets or ())
        # Depends on the step only, so that all processes use the same frames, whatever the batch of a clip.
        order = torch.randperm(batch.num_frames, generator=self.generator(ctx.step, "frames")).tolist()
        live, rest = sorted(order[: self.gradient_frames]), sorted(order[self.gradient_frames :])
        calls = [
            *_chunks(live, 1 if self.checkpointing else self.gradient_frames),
            *_chunks(rest, self.gradient_frames),
        ]
        outputs = detect_frames(lambda *where: self.detect(*where)[0], batch, targets, calls, live, ctx)
        frames = [
            self.plugins.on_embeddings(
                frame_output(output, batch, time, has_grad=time in live), ctx.at(time, truth, has_grad=time in live)
            )
            for time, (output, truth) in enumerate(zip(outputs, targets, strict=True))
        ]
        losses, gt_index = self.criterion(_supervised(outputs, frames), join_targets(targets))
        losses = self._weighted(losses)
        # Identities come from the matching of the last layer, which provides the embeddings. The authors' trainer uses
        # the layer before it, because its criterion returns the matching computed last.
        for time, truth in enumerate(targets):
            frame = replace(frames[time], gt_index=gt_index[-1, time * len(batch) : (time + 1) * len(batch)])
            frames[time] = replace(frame, iou=slot_iou(frame, truth))
        clip = ClipOutput(frames, targets)
        losses["id"] = self.id_weight * self._id_loss(batch, trajectories(clip), ctx)
        return losses, clip

    def _weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weight the losses of the criterion, and add up those of earlier layers."""
        criterion = self.criterion
        weights = {"class": criterion.class_weight, "l1": criterion.l1_weight, "giou": criterion.giou_weight}
        total: dict[str, Tensor] = {}
        for name, loss in losses.items():
            kind, _, layer = name.partition("_")
            name = f"aux_{kind}" if layer else kind
            total[name] = total.get(name, 0) + weights[kind] * loss
        return total

    def _id_loss(self, batch: ClipBatch, found: Trajectories, ctx: Context) -> Tensor:
        """Compute the identity loss over all groups of all clips."""
        drawn = [
            draw_labels(
                present[ids >= 0],
                self.id_decoder.newborn,
                self.groups,
                generator,
                self.occlusion,
                self.switch,
            )
            for ids, present, generator in zip(
                found.ids, found.present, self.clip_generators(batch, ctx.step), strict=True
            )
        ]
        size = max(1, found.ids.shape[1])  # the decoder needs at least one identity, even an invalid one
        labels = _merged(stack_labels(drawn, size), batch.images.device)
        assert found.embeddings is not None, "set by frame_output"
        embeddings = found.embeddings.transpose(1, 2)  # (B, T, I, C)
        if not found.ids.shape[1]:
            embeddings = embeddings.sum(2, keepdim=True)  # zeros that stay in the autograd graph
        embeddings = embeddings.repeat_interleave(self.groups, 0)
        history = take(embeddings.flatten(0, 1), labels.source.flatten(0, 1)).view_as(embeddings)
        ids = nn.functional.pad(found.ids, (0, size - found.ids.shape[1]), value=-1)
        state = TrackState(
            ids.repeat_interleave(self.groups, 0).where(labels.words >= 0, -1),
            labels.words >= 0,
            history=history.where(labels.history_valid[..., None], 0).transpose(1, 2),
            history_valid=labels.history_valid.transpose(1, 2),
        )
        state = self.plugins.on_tracks_update(None, state, ctx)
        times = torch.arange(batch.num_frames, device=ids.device)[:, None].expand_as(labels.source)
        words = labels.words.clamp(min=0)[:, None].expand_as(labels.source)
        logits = self._words(state, times, words, TrackTokens(embeddings, labels.current_valid, times))
        counted = labels.current_valid[:, 1:]
        if counted.any():
            right = logits.detach()[:, 1:].argmax(-1) == labels.answers[:, 1:]
            ctx.log("id_accuracy", right[counted].float().mean())
        return id_loss(logits, labels.answers, labels.current_valid)

    def _words(self, state: TrackState, times: Tensor, words: Tensor, current: TrackTokens) -> Tensor:
        """Compute the word logits of detections from the histories after plug-ins."""
        assert state.history is not None, "set by the caller"
        assert state.history_valid is not None, "set by the caller"
        history = self.trajectory_model(state.history).transpose(1, 2)
        logits: Tensor = self.id_decoder(
            TrackTokens(history, state.history_valid.transpose(1, 2), times, words), current
        )
        return logits

    # Tracking.

    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Detect objects, predict their identities from the histories, and return those with an identity."""
        output, _ = self.detect(batch.images[:, 0], batch.padding, ctx)
        frame = self.plugins.on_embeddings(frame_output(output, batch, 0), ctx)
        area = frame.boxes_cxcywh[..., 2:].prod(-1) * batch.original_size.prod()
        strong = frame.logits.sigmoid().amax(-1) > self.detection_threshold
        frame = keep_slots(frame, frame.valid & strong & (area > self.min_area))
        scores, classes = frame.logits[0].sigmoid().max(-1)
        assert frame.embeddings is not None, "set by frame_output"
        ids = self.memory.update(frame.embeddings[0], scores, self._identify(frame, ctx))
        for identity, box, score in zip(ids.tolist(), frame.boxes_cxcywh[0], scores, strict=True):
            self._seen[identity] = box, score
        live = {self.memory.identities[word] for word in self.memory.words}
        self._seen = {identity: seen for identity, seen in self._seen.items() if identity in live}
        kept = ids >= 0
        return FrameTracks(ids[kept], frame.boxes_cxcywh[0, kept], scores[kept], classes[kept])

    def reset(self) -> None:
        """Drop all histories and identities."""
        self.memory.reset()
        self._seen.clear()

    def _identify(self, frame: FrameOutput, ctx: Context) -> Tensor | None:
        """Compute the logits ``(N, words + 1)`` of the detections; None without tracks or detections."""
        history = self.memory.tokens()
        if history is None or not frame.valid.shape[1]:
            return None
        assert history.words is not None, "set by the memory"
        assert frame.embeddings is not None, "set by frame_output"
        state = self._state(history)
        scores = self.plugins.on_associate(frame, state, ctx)
        if scores is not None:
            return self._as_logits(scores[0])
        state = self.plugins.on_tracks_update(None, state, ctx)
        now = torch.full_like(frame.gt_index[:, None], history.times.shape[1])
        current = TrackTokens(frame.embeddings[:, None], frame.valid[:, None], now)
        return self._words(state, history.times, history.words, current)[0, 0]

    def _state(self, history: TrackTokens) -> TrackState:
        """Return the live tracks for plug-ins."""
        identities = [self.memory.identities[word] for word in self.memory.words]
        embeddings, valid = history.embeddings.transpose(1, 2), history.valid.transpose(1, 2)
        last = (valid * torch.arange(1, valid.shape[2] + 1, device=valid.device)).argmax(-1)
        return TrackState(
            torch.tensor(identities, device=valid.device)[None],
            torch.ones_like(valid[..., 0]),
            torch.stack([self._seen[identity][0] for identity in identities])[None],
            torch.stack([self._seen[identity][1] for identity in identities])[None],
            misses=valid.shape[2] - 1 - last,
            embeddings=take(embeddings.flatten(0, 1), last[0, :, None])[None, :, 0],
            history=embeddings,
            history_valid=valid,
        )

    def _as_logits(self, scores: Tensor) -> Tensor:
        """Convert the association scores ``(M, N)`` of a plug-in to logits of the best one-to-one matching.

        Pairs need a score above ``id_threshold``.
        """
        rows, columns = assign(-scores.double().cpu().numpy(), -self.memory.id_threshold)
        words = torch.full((scores.shape[1],), self.id_decoder.newborn)
        words[columns] = torch.tensor(self.memory.words)[rows]
        return (nn.functional.one_hot(words, self.id_decoder.newborn + 1) * 1e4).to(scores)

    # Memory.

    def frames_in_memory(self, clip_length: int) -> int:
        """Return 1 with checkpointing, otherwise the number of frames with gradient."""
        return min(super().frames_in_memory(self.gradient_frames), clip_length)

    @property
    def memory_advice(self) -> list[str]:
        """Advice on reducing memory: checkpointing, then fewer frames with gradient."""
        fewer = ["a smaller gradient_frames"] if self.frames_in_memory(self.gradient_frames) > 1 else []
        return [*super().memory_advice, *fewer]

    # Weights.

    def clip_groups(self) -> Iterator[list[nn.Parameter]]:
        """Yield the parameters of the detector, then all others, including plug-ins."""
        yield list(self.detector.parameters())
        yield [parameter for name, parameter in self.named_parameters() if not name.startswith("detector.")]

    def import_weights(self, state: Mapping[str, Tensor]) -> ImportReport:
        """Load a released MOTIP, the MOTIP part of FDTA, or a Deformable DETR as initialization.

        The adapters of FDTA are plug-ins of the package ``fdta-adapters``, which load their own part.

        Args:
            state: Released state dict, see :func:`mot_core.checkpoints.read_state_dict`.

        Returns:
            Report of all keys, with the names of this tracker.

        Raises:
            ValueError: If the checkpoint has another architecture.
        """
        if any(name.startswith("id_decoder.") for name in state):
            return load_motip(self.detector, self.trajectory_model, self.id_decoder, state)
        prefix = "detr." if any(name.startswith("detr.") for name in state) else ""
        return self.import_detector(state, prefix)


def _chunks(frames: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(frames), size):
        yield list(frames[start : start + size])


def _supervised(outputs: Sequence[DetectorOutput], frames: Sequence[FrameOutput]) -> DetectorOutput:
    """Return the supervised layers: those of the decoder, with the last one and ``aux`` as returned by plug-ins."""
    logits = list(torch.cat([output.logits[:-1] for output in outputs], 1))
    boxes = list(torch.cat([output.boxes_cxcywh[:-1] for output in outputs], 1))
    for layer in [*zip(*(frame.aux for frame in frames), strict=True), frames]:
        logits.append(torch.cat([frame.logits for frame in layer]))
        boxes.append(torch.cat([frame.boxes_cxcywh for frame in layer]))
    stacked = torch.stack(boxes)
    return DetectorOutput(torch.stack(logits), stacked, stacked, [])  # the criterion uses no embeddings


def _merged(labels: IdentityLabels, device: torch.device) -> IdentityLabels:
    """Merge clips and groups into one dimension."""
    names = ("words", "source", "history_valid", "current_valid", "answers")
    return IdentityLabels(*(getattr(labels, name).flatten(0, 1).to(device) for name in names))
