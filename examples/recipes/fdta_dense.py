"""Attach the adapters of FDTA to trackers from outside: docs/recipes/fdta.md.

The functions `attach_...` are those of the page, for MOTIP, MOTR, Deformable DETR of Hugging Face and dense detectors.
The script attaches the last one to a detector with the names of YOLOX, and trains both on synthetic clips with depth:
python examples/recipes/fdta_dense.py --steps 200
"""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, B905, D103 - the functions are short on the page
from __future__ import annotations

import torch
from clips import SIZE, Objects, small_backbone, steps_from, train
from torch import Tensor, nn

from fdta_adapters import FDTA
from fdta_adapters.foreign import (
    attend_depth,
    best_cells,
    deformable_spec,
    depth_targets,
    detr_clip,
    flat_pyramid,
    gate_pyramid,
    matched_frame,
    matched_motr_frame,
    refine_histories,
    refine_tracks,
)
from mot_core.boxes import cxcywh_to_xyxy, pairwise_giou, pairwise_iou
from mot_core.structures import ClipOutput, TrackerSpec
from mot_core.tap import Tap

STRIDES = (8, 16)
WIDTH = 32


def attach_motip(model, criterion, *plugins):
    net = model.detr.transformer
    tap = Tap(model, deformable_spec("motip", net.d_model, len(net.decoder.layers), "history", "ids"), *plugins)
    attend_depth(tap, net, [layer.norm1 for layer in net.decoder.layers])

    def history(forward, seq_info):
        x, missing = (seq_info[f"trajectory_{key}"].flatten(0, 1).transpose(1, 2) for key in ("features", "masks"))
        refined = refine_histories(tap, x, missing).transpose(1, 2).reshape(seq_info["trajectory_features"].shape)
        return forward({**seq_info, "trajectory_features": refined})

    tap.replace(model.trajectory_modeling, "forward", history)
    tap.method(criterion, "forward", after=lambda result, *_, **__: result[1], key="indices")
    tap.loss(
        criterion,
        lambda outputs, targets, *_, **__: detr_clip(
            outputs["outputs"],
            outputs["pred_boxes"],
            [t["boxes"] for t in targets],
            [t["id"] for t in targets],
            tap.captured["indices"][0],
        ),
    )
    return tap


def attach_motr(model, *plugins):
    net, criterion = model.transformer, model.criterion
    tap = Tap(model, deformable_spec("motr", net.d_model, len(net.decoder.layers), "track_queries", "ids"), *plugins)
    attend_depth(tap, net, [layer.norm1 for layer in net.decoder.layers])

    def update(forward, data):
        t = data["track_instances"]
        present = t.matched_gt_idxes >= 0 if model.training else t.disappear_time == 0
        t.output_embedding = refine_tracks(tap, t.obj_idxes, t.output_embedding, present)
        return forward(data)

    tap.replace(model.track_embed, "forward", update)
    tap.method(criterion, "match_for_single_frame", after=lambda t, _: matched_motr_frame(t, criterion), key="frames")
    tap.loss(criterion, lambda *_, **__: ClipOutput(*zip(*tap.captured["frames"])))
    tap.replace(model, "clear", lambda clear: (tap.reset(), clear()))
    return tap


def attach_deformable_detr(model, matcher, *plugins):
    net = model.model
    tap = Tap(model, deformable_spec("deformable_detr", model.config.d_model, len(net.decoder.layers), "ids"), *plugins)
    attend_depth(tap, net.encoder, [layer.encoder_attn_layer_norm for layer in net.decoder.layers], flat_pyramid)

    def clip(pixel_values, labels, **_):
        (out,) = tap.captured["out"]
        boxes, ids = [t["boxes"] for t in labels], [t["track_ids"] for t in labels]
        return detr_clip(out["last_hidden_state"], out["pred_boxes"], boxes, ids, matcher(out, labels))

    names = ("logits", "pred_boxes", "last_hidden_state")
    tap.method(model, "forward", after=lambda out, *_, **__: {name: out[name] for name in names}, key="out")
    tap.loss(model, clip, into="loss")
    return tap


def attach_dense(model, channels, *plugins, strides=(8, 16, 32)):
    can, n = frozenset({"features", "decoder_layer", "embeddings", "ids"}), len(strides)
    tap = Tap(model, TrackerSpec("dense", can, 1, channels, (channels,) * n, strides, decoder_layers=n), *plugins)
    tap.replace(model.backbone, "forward", lambda forward, images: gate_pyramid(tap, forward(images)))
    tap.method(model.head, "get_losses", before=lambda imgs, labels, outputs, embeddings: (outputs, embeddings))
    tap.method(model.head, "get_assignments", after=lambda result, *_: best_cells(*result[1:4]))

    def clip(x, targets):
        ((outputs, embeddings),) = tap.captured["get_losses"]
        boxes, size = outputs[..., :4], x.new_tensor([x.shape[3], x.shape[2]] * 2)
        return ClipOutput(
            *zip(
                *(
                    matched_frame(
                        embeddings[b, cell],
                        boxes[b, cell] / size,
                        targets[b][row] / size,
                        model.head.track_ids[b][row],
                        b,
                    )
                    for b, (cell, row) in enumerate(tap.captured["get_assignments"])
                )
            )
        )

    tap.loss(model, clip, into="total_loss")
    return tap


class Pyramid(nn.Module):
    """Maps of the strides 8 and 16 with equal width."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = small_backbone(3, WIDTH), nn.Conv2d(WIDTH, WIDTH, 3, 2, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps."""
        fine = self.fine(images)
        return [fine, self.coarse(fine)]


class YOLOXHead(nn.Module):
    """Boxes and embeddings of the cells of all levels, in one axis."""

    track_ids: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.predict = nn.Conv2d(WIDTH, 5 + WIDTH, 1)

    def forward(self, maps: list[Tensor], labels: list[Tensor], imgs: Tensor) -> Tensor:
        """Return the loss of the detector."""
        outputs = []
        for level, stride in zip(maps, STRIDES, strict=True):
            y, x = torch.meshgrid(*(torch.arange(side) for side in level.shape[-2:]), indexing="ij")
            raw = self.predict(level).flatten(2).mT
            centers = (raw[..., :2] + torch.stack([x, y], -1).view(-1, 2) + 0.5) * stride
            outputs.append(torch.cat([centers, raw[..., 2:4].clamp(max=4).exp() * stride, raw[..., 4:]], -1))
        every = torch.cat(outputs, 1)
        return self.get_losses(imgs, labels, every[..., :5], every[..., 5:])

    def get_losses(self, imgs: Tensor, labels: list[Tensor], outputs: Tensor, embeddings: Tensor) -> Tensor:
        """Return the mean loss of boxes and objectness over the images."""
        losses = []
        for batch_idx, boxes in enumerate(labels):
            predicted = outputs[batch_idx]
            _, mask, _, matched, _ = self.get_assignments(batch_idx, len(boxes), boxes, predicted[:, :4])
            overlap = pairwise_giou(cxcywh_to_xyxy(predicted[mask, :4]), cxcywh_to_xyxy(boxes[matched])).diagonal()
            objectness = nn.functional.binary_cross_entropy_with_logits(predicted[:, 4], mask.float())
            losses.append((1 - overlap).mean() + objectness)
        return torch.stack(losses).mean()

    @torch.no_grad()
    def get_assignments(
        self, batch_idx: int, num_gt: int, gt_bboxes_per_image: Tensor, bboxes_preds_per_image: Tensor
    ) -> tuple[Tensor, ...]:
        """Assign the two nearest cells to each object: classes, mask, overlaps, objects and number of cells."""
        distance = torch.cdist(gt_bboxes_per_image[:, :2], bboxes_preds_per_image[:, :2])
        nearest = distance.topk(2, largest=False).indices
        owner = torch.full((len(bboxes_preds_per_image),), -1)
        owner[nearest.flatten()] = torch.arange(num_gt).repeat_interleave(2)
        mask = owner >= 0
        matched = owner[mask]
        found = cxcywh_to_xyxy(bboxes_preds_per_image[mask])
        overlaps = pairwise_iou(found, cxcywh_to_xyxy(gt_bboxes_per_image[matched])).diagonal()
        return torch.zeros(len(matched)), mask, overlaps, matched, len(matched)


class Detector(nn.Module):
    """A backbone and a head, which return a dictionary of losses as YOLOX does."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = Pyramid(), YOLOXHead()

    def forward(self, x: Tensor, targets: list[Tensor]) -> dict[str, Tensor]:
        """Return the loss of the detector, to which the tap adds those of the adapters."""
        return {"total_loss": self.head(self.backbone(x), targets, x)}


def training_step(model: Detector, images: Tensor, objects: Objects) -> dict[str, Tensor]:
    """Return the loss of a clip, with that of the adapters."""
    model.call_targets = depth_targets(
        torch.stack([one["depth"] for one in objects]), [one["boxes"] for one in objects]
    )
    model.head.track_ids = [one["track_ids"] for one in objects]
    return model(images, [one["boxes"] * torch.tensor([SIZE[1], SIZE[0]] * 2) for one in objects])


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the loss, and return that of each step."""
    steps = steps_from(arguments, "Train a dense detector with the adapters of FDTA.")
    torch.manual_seed(0)
    model = Detector()
    spatial = {"residual": "gated", "num_bins": 10, "num_heads": 4}
    adapters = FDTA(spatial=spatial, temporal=None, identity={"start_epoch": 0})
    attach_dense(model, WIDTH, *adapters, strides=STRIDES)
    return train(model, lambda images, objects: training_step(model, images, objects), 3, steps, with_depth=True)


if __name__ == "__main__":
    main()
