"""Deformable DETR whose decoder also attends to the previous frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mot_core.nn.backbones.base import Backbone
from mot_core.nn.detr.attention import DeformableAttention
from mot_core.nn.detr.decoder import DecoderHook
from mot_core.nn.detr.detector import DeformableDETR, DetectorOutput
from mot_core.nn.detr.position import sine_frame_position
from mot_core.structures import FeaturePyramid, TrackState

PREVIOUS, CURRENT = 0, 1


class MultiFrameDETR(DeformableDETR):
    """Deformable DETR with the multi-frame attention of TrackFormer (Meinhardt et al., CVPR 2022, arXiv:2101.02702).

    The encoder processes the current and the previous frame separately, with other positions and level vectors. The
    decoder attends to both: its ``2 L`` levels are those of the current frame, followed by those of the previous frame.
    In the first frame of a clip the current frame is also used as the previous one. Outputs equal those of the
    released TrackFormer, including the exchange of height and width in the sampling offsets from points (see
    docs/parity.md).

    Args:
        backbone: Backbone that maps images to feature maps.
        settings: Arguments of :class:`DeformableDETR`, except ``num_frames``.

    >>> from mot_core.nn import SmallBackbone
    >>> detector = MultiFrameDETR(SmallBackbone(), num_queries=5, embed_dim=32, ffn_dim=32, num_levels=3,
    ...     num_encoder_layers=1, num_decoder_layers=2)
    >>> first = detector.features(torch.zeros(2, 3, 64, 96))
    >>> joined = detector.join(detector.features(torch.ones(2, 3, 64, 96)), first)
    >>> len(joined.levels), detector.decode(joined, detector.encode(joined)).boxes_cxcywh.shape
    (6, torch.Size([2, 2, 5, 4]))
    """

    def __init__(self, backbone: Backbone, **settings: Any) -> None:
        super().__init__(backbone, num_frames=2, **settings)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.height_first = True

    def _positions(self, masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return self._positions_of(masks, CURRENT)

    def _positions_of(self, masks: Sequence[Tensor], frame: int) -> tuple[Tensor, ...]:
        return tuple(sine_frame_position(mask, frame, 2, self.embed_dim, self.temperature) for mask in masks)

    def join(self, pyramid: FeaturePyramid, previous: FeaturePyramid | None = None) -> FeaturePyramid:
        """Return the pyramid of two frames that :meth:`encode` and :meth:`decode` expect.

        Args:
            pyramid: Features of the current frame, with ``L`` levels.
            previous: Features of the previous frame, possibly of another size. None means the current ones.

        Returns:
            Pyramid with ``2 L`` levels, the current frame first.
        """
        previous = pyramid if previous is None else previous
        return FeaturePyramid(
            (*pyramid.levels, *previous.levels),
            (*pyramid.masks, *previous.masks),
            (*(pyramid.positions or ()), *self._positions_of(previous.masks, PREVIOUS)),
        )

    def encode(self, pyramid: FeaturePyramid) -> Tensor:
        """Return the memory ``(B, S, C)`` of both frames; ``pyramid`` is a result of :meth:`join`.

        Raises:
            ValueError: If the pyramid has another number of levels.
        """
        count = len(self.strides)
        if len(pyramid.levels) != 2 * count or pyramid.positions is None:
            raise ValueError(
                f"pyramid: expected {2 * count} levels of two frames with their positions, got {len(pyramid.levels)} "
                f"levels and {len(pyramid.positions or ())} positions; call join first"
            )
        return torch.cat(
            [
                self.encoder(FeaturePyramid(pyramid.levels[part], pyramid.masks[part], pyramid.positions[part]), frame)
                for part, frame in ((slice(count), CURRENT), (slice(count, None), PREVIOUS))
            ],
            1,
        )

    def forward(
        self,
        images: Tensor,
        padding_mask: Tensor | None = None,
        tracks: TrackState | None = None,
        on_features: Callable[[FeaturePyramid], FeaturePyramid] | None = None,
        on_decoder_layer: DecoderHook | None = None,
        previous: FeaturePyramid | None = None,
    ) -> DetectorOutput:
        """Run all parts in one call; ``previous`` are the features of the previous frame."""
        pyramid = self.features(images, padding_mask)
        if on_features is not None:
            pyramid = on_features(pyramid)
        joined = self.join(pyramid, previous)
        return self.decode(joined, self.encode(joined), tracks, on_decoder_layer)
