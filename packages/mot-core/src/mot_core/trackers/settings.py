"""Settings shared by all trackers, as plain data for configs and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mot_core.nn import (
    YOLOX,
    Backbone,
    CenterNet,
    DeformableDETR,
    FairMOTNetwork,
    GlobalAssociation,
    MultiFrameDETR,
    ResNet50,
    SmallBackbone,
    TimmBackbone,
)
from mot_core.nn.backbones.dla import DLA_CHANNELS
from mot_core.nn.yolox.detector import SIZES

LARGEST = {
    "num_classes": 100_000,
    "num_queries": 100_000,
    "embed_dim": 16_384,
    "num_heads": 1_024,
    "num_encoder_layers": 1_000,
    "num_decoder_layers": 1_000,
    "ffn_dim": 65_536,
    "num_levels": 16,
    "num_points": 1_000,
}
"""Limits of a detector, far above every published one, so that a typing error does not fill the memory."""


def check_range(least: float, most: float, **values: float) -> None:
    """Raise an error for the first argument that is outside of a range.

    Raises:
        ValueError: If a value is below ``least``, above ``most`` or NaN.

    >>> check_range(1, 1_000_000, num_words=10**12)
    Traceback (most recent call last):
    ValueError: num_words: expected 1 to 1,000,000, got 1,000,000,000,000
    """
    for name, value in values.items():
        if not least <= value <= most:
            limits = f"at least {least:,}" if most == float("inf") else f"{least:,} to {most:,}"
            raise ValueError(f"{name}: expected {limits}, got {value:,}")


def check_choice(**values: tuple[str, tuple[str, ...]]) -> None:
    """Raise an error for the first argument that is not one of the known values.

    Raises:
        ValueError: If a value is unknown.

    >>> check_choice(norm=("layer", ("batch", "group")))
    Traceback (most recent call last):
    ValueError: norm: expected one of batch, group, got 'layer'
    """
    for name, (value, known) in values.items():
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of the Deformable DETR of a tracker. The defaults are those of the papers (MOTIP, MOTR).

    Args:
        backbone: ``"resnet50"``, ``"small"`` (0.4 M parameters, for small images on a CPU) or ``"timm:NAME"``.
        backbone_norm: Batch normalization of ResNet-50, ``"frozen"`` (needs pretrained weights) or ``"live"``.
        frozen_stages: Number of parts of ResNet-50 that are not trained, counted from the stem. Use 0 without
            pretrained weights.
        num_classes: Number of object classes.
        num_queries: Number of learned queries, which limits the number of new objects per image.
        embed_dim: Channels of the transformer, a multiple of 32.
        num_heads: Heads of every attention layer.
        num_encoder_layers: Layers of the encoder.
        num_decoder_layers: Layers of the decoder.
        ffn_dim: Hidden channels of the feed-forward layers.
        num_levels: Levels of the feature pyramid.
        num_points: Sampling points per head and level.
        dropout: Dropout probability in encoder and decoder.

    >>> small = DetectorSettings("small", num_queries=10, embed_dim=64, ffn_dim=128, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> sum(parameter.numel() for parameter in small.build().parameters())
    506300
    """

    backbone: str = "resnet50"
    backbone_norm: Literal["frozen", "live"] = "frozen"
    frozen_stages: int = 2
    num_classes: int = 1
    num_queries: int = 300
    embed_dim: int = 256
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    ffn_dim: int = 1024
    num_levels: int = 4
    num_points: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, largest in LARGEST.items():
            check_range(1, largest, **{name: getattr(self, name)})
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout: expected a probability in [0, 1], got {self.dropout}")

    def build(
        self, *, track_attention: bool = False, dab: bool = False, merge_layer: int = 0, multi_frame: bool = False
    ) -> DeformableDETR:
        """Build the detector with new weights.

        Args:
            track_attention: Whether track queries attend to each other in every layer (MOTR).
            dab: Whether queries have anchor boxes (DAB-Deformable-DETR; MeMOTR).
            merge_layer: First decoder layer with tracks (MeMOTR).
            multi_frame: Whether the decoder also attends to the previous frame (TrackFormer).
        """
        detector = MultiFrameDETR if multi_frame else DeformableDETR
        return detector(
            self._backbone(),
            num_classes=self.num_classes,
            num_queries=self.num_queries,
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            num_encoder_layers=self.num_encoder_layers,
            num_decoder_layers=self.num_decoder_layers,
            ffn_dim=self.ffn_dim,
            num_levels=self.num_levels,
            num_points=self.num_points,
            dropout=self.dropout,
            track_attention=track_attention,
            dab=dab,
            merge_layer=merge_layer,
        )

    def _backbone(self) -> Backbone:
        if self.backbone == "resnet50":
            return ResNet50(self.backbone_norm, self.frozen_stages)
        if self.backbone == "small":
            return SmallBackbone()
        if self.backbone.startswith("timm:"):
            return TimmBackbone(self.backbone.removeprefix("timm:"))
        raise ValueError(f"backbone: expected 'resnet50', 'small' or 'timm:NAME', got {self.backbone!r}")


@dataclass(frozen=True)
class YOLOXSettings:
    """Settings of the YOLOX of a tracker. The defaults are those of ByteTrack.

    Args:
        size: Size of the network: ``"nano"``, ``"tiny"``, ``"s"``, ``"m"``, ``"l"`` or ``"x"`` as published, or
            ``"micro"`` (0.6 M parameters, for small images on a CPU).
        num_classes: Number of object classes.
        embed_dim: Channels of the embeddings, for plug-ins; 0 for none. Released weights have none, so that this branch
            starts from random weights and learns from plug-ins only.
        norm: ``"batch"``, as in released weights, or ``"group"`` to train from random weights with small batches.

    >>> sum(parameter.numel() for parameter in YOLOXSettings("micro", norm="group").build().parameters())
    564034
    """

    size: Literal["micro", "nano", "tiny", "s", "m", "l", "x"] = "x"
    num_classes: int = 1
    embed_dim: int = 0
    norm: Literal["batch", "group"] = "batch"

    def __post_init__(self) -> None:
        check_range(1, LARGEST["num_classes"], num_classes=self.num_classes)
        check_range(0, LARGEST["embed_dim"], embed_dim=self.embed_dim)
        check_choice(size=(self.size, tuple(SIZES)), norm=(self.norm, ("batch", "group")))

    def build(self) -> YOLOX:
        """Build the detector with new weights."""
        return YOLOX(self.size, self.num_classes, self.embed_dim, norm=self.norm)


@dataclass(frozen=True)
class CenterNetSettings:
    """Settings of the CenterNet of a tracker, on the pyramid of a DLA network. The defaults are those of GTR.

    Args:
        size: Size of the backbone: ``"34"`` as published, or ``"micro"`` (0.4 M parameters, for small images on a CPU).
        num_classes: Number of object classes.
        channels: Channels of the pyramid, which are also the input of the association of GTR.
        norm: Normalization of the backbone: ``"batch"``, or ``"group"`` to train from random weights with small
            batches.
        extra_levels: Number of pyramid levels that are coarser than 32 pixels.
        head_depth: Number of convolutions of the head before the predictions.

    >>> detector = CenterNetSettings("micro", channels=32, extra_levels=0, head_depth=2).build()
    >>> sum(parameter.numel() for parameter in detector.parameters())
    352480
    """

    size: Literal["34", "micro"] = "34"
    num_classes: int = 1
    channels: int = 256
    norm: Literal["batch", "group"] = "batch"
    extra_levels: int = 2
    head_depth: int = 4

    def __post_init__(self) -> None:
        check_range(1, LARGEST["num_classes"], num_classes=self.num_classes)
        check_range(4, LARGEST["embed_dim"], channels=self.channels)
        check_range(0, 4, extra_levels=self.extra_levels)
        check_range(0, 100, head_depth=self.head_depth)
        check_choice(size=(self.size, tuple(DLA_CHANNELS)), norm=(self.norm, ("batch", "group")))
        if self.channels % 4:
            raise ValueError(f"channels: expected a multiple of 4, got {self.channels}")

    def build(self) -> CenterNet:
        """Build the detector with new weights."""
        return CenterNet(
            self.size,
            self.num_classes,
            self.channels,
            norm=self.norm,
            extra_levels=self.extra_levels,
            head_depth=self.head_depth,
        )


@dataclass(frozen=True)
class FairMOTSettings:
    """Settings of the network of FairMOT. The defaults are those of the released weights.

    Args:
        size: Size of the backbone: ``"34"`` as published, or ``"micro"`` (0.5 M parameters, for small images on a CPU).
        num_classes: Number of object classes.
        embed_dim: Channels of the embeddings.
        hidden: Channels of the heads.
        deformable: Whether the upsampling path has deformable convolutions.
        norm: ``"batch"``, as in released weights, or ``"group"`` to train from random weights with small batches.

    >>> detector = FairMOTSettings("micro", embed_dim=32, hidden=32, deformable=False).build()
    >>> sum(parameter.numel() for parameter in detector.parameters())
    493215
    """

    size: Literal["34", "micro"] = "34"
    num_classes: int = 1
    embed_dim: int = 128
    hidden: int = 256
    deformable: bool = True
    norm: Literal["batch", "group"] = "batch"

    def __post_init__(self) -> None:
        check_range(1, LARGEST["num_classes"], num_classes=self.num_classes)
        check_range(1, LARGEST["embed_dim"], embed_dim=self.embed_dim, hidden=self.hidden)
        check_choice(size=(self.size, tuple(DLA_CHANNELS)), norm=(self.norm, ("batch", "group")))

    def build(self) -> FairMOTNetwork:
        """Build the network with new weights."""
        return FairMOTNetwork(
            self.size, self.num_classes, self.embed_dim, self.hidden, deformable=self.deformable, norm=self.norm
        )


@dataclass(frozen=True)
class AssociationSettings:
    """Settings of the association transformer of GTR. The defaults are those published for MOT.

    Args:
        embed_dim: Channels of embeddings and attention layers, a multiple of four times ``num_heads``.
        pool_size: Sides of the features of a box.
        num_heads: Heads of the attention layers.
        projection_layers: Linear layers of the projections of queries and keys; 0 for none.
        positions: Whether boxes and times have learned embeddings.

    >>> AssociationSettings(embed_dim=64, pool_size=5).build(32).fc1
    Linear(in_features=800, out_features=64, bias=True)
    """

    embed_dim: int = 1024
    pool_size: int = 7
    num_heads: int = 8
    projection_layers: int = 0
    positions: bool = False

    def __post_init__(self) -> None:
        check_range(1, LARGEST["num_heads"], num_heads=self.num_heads)
        check_range(1, LARGEST["embed_dim"], embed_dim=self.embed_dim)
        check_range(1, 64, pool_size=self.pool_size)
        check_range(0, 16, projection_layers=self.projection_layers)

    def build(self, in_channels: int) -> GlobalAssociation:
        """Build the head with new weights, for pooled features of ``in_channels``."""
        return GlobalAssociation(
            in_channels,
            self.embed_dim,
            pool_size=self.pool_size,
            num_heads=self.num_heads,
            projection_layers=self.projection_layers,
            positions=self.positions,
        )


@dataclass(frozen=True)
class OptimizerSettings:
    """Settings of AdamW with parameter groups and a step schedule, as in the papers.

    Args:
        lr: Learning rate.
        weight_decay: Weight decay of all parameters.
        backbone_scale: Factor of the learning rate for the backbone.
        points_scale: Factor of the learning rate for sampling offsets and reference points.
        milestones: Zero-based epochs at which the learning rate is reduced.
        gamma: Factor of the learning rate at every milestone.
        warmup_epochs: Epochs of linear warmup of the learning rate from 0, possibly a fraction. 0 disables it.
    """

    lr: float = 2e-4
    weight_decay: float = 1e-4
    backbone_scale: float = 0.1
    points_scale: float = 0.1
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """Return the factor of the learning rate in a step.

        >>> settings = OptimizerSettings(milestones=(2,), warmup_epochs=1)
        >>> [round(settings.factor(step, 10), 2) for step in (0, 4, 10, 20)]
        [0.1, 0.5, 1.0, 0.1]
        """
        warmup = self.warmup_epochs * steps_per_epoch
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rise * self.gamma ** sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
