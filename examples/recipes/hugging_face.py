"""Train Deformable DETR of Hugging Face with the UniTrack loss, on synthetic clips: docs/recipes/hugging_face.md.

Small and with random weights, so that it runs without files: python examples/recipes/hugging_face.py --steps 200
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig
from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.converters import detr_frame

WEIGHT = 1.0


def build() -> DeformableDetrForObjectDetection:
    """Return a small detector; use `from_pretrained` for a real one."""
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = DeformableDetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, d_model=32, num_queries=12,
        encoder_layers=1, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_attention_heads=4, num_labels=1,
    )  # fmt: skip
    return DeformableDetrForObjectDetection(config)


def clips(frames: int = 3) -> Iterator[tuple[Tensor, list[dict[str, Tensor]]]]:
    """Yield images ``(T, 3, H, W)`` of consecutive frames of one video, and the labels of each."""
    dataset = ClipDataset(SyntheticVideo(num_videos=100, num_frames=frames, image_size=(96, 160)), ClipSampling(frames))
    for index in range(len(dataset)):
        batch = collate([dataset[index]])
        labels = [
            {
                "class_labels": truth.labels[0][truth.valid[0]],
                "boxes": truth.boxes_cxcywh[0][truth.valid[0]],
                "track_ids": truth.ids[0][truth.valid[0]],
            }
            for truth in batch.targets or ()
        ]
        yield batch.images[0], labels


def training_step(model: Any, matcher: Any, images: Tensor, labels: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the loss of the detector and that of UniTrack; the frames of a clip are the batch."""
    size = images.shape[-2:]
    outputs = model(pixel_values=images, labels=labels)
    matches = matcher({"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}, labels)
    pairs = enumerate(zip(labels, matches, strict=True))
    frames = [detr_frame(outputs, label, match, size, row=row) for row, (label, match) in pairs]
    return outputs.loss, UniTrackLoss()(TrackClip.from_frames(frames, size)).total


def main(arguments: list[str] | None = None) -> list[float]:
    """Train, print both losses, and return that of UniTrack in each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="training steps (default: 200)")
    steps = parser.parse_args(arguments).steps
    torch.manual_seed(0)
    model = build().train()
    config = model.config
    # The matcher with which the model computes its own loss: classes are sigmoids with a focal cost.
    matcher = DeformableDetrHungarianMatcher(config.class_cost, config.bbox_cost, config.giou_cost)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    while len(history) < steps:
        for images, labels in clips():
            own, unitrack = training_step(model, matcher, images, labels)
            optimizer.zero_grad()
            (own + WEIGHT * unitrack).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            history.append(unitrack.item())
            if len(history) % 20 == 1:
                print(f"step {len(history)}: detector {own.item():.3f}, UniTrack {unitrack.item():.3f}")
            if len(history) == steps:
                break
    return history


if __name__ == "__main__":
    main()
