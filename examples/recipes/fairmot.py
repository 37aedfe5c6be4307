"""Train the heads of FairMOT with the UniTrack loss: docs/recipes/fairmot.md.

Outputs, batch and loss have the names of `lib/trains/mot.py`; the network is smaller, so that it runs without files:
python examples/recipes/fairmot.py --steps 200
"""

from __future__ import annotations

import torch
from clips import SIZE, Objects, small_backbone, steps_from, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss

from unitrack_loss import UniTrackLoss
from unitrack_loss.converters import fairmot_clip

STRIDE = 4
HEADS = {"hm": 1, "wh": 4, "reg": 2, "id": 32}
PEOPLE = 64
"""Size of the classifier of identities."""


class Heads(nn.Module):
    """Heat map, distances to the sides, offset of the center and embedding of each cell."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = small_backbone(2)
        self.heads = nn.ModuleDict({name: nn.Conv2d(32, channels, 1) for name, channels in HEADS.items()})

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return the outputs of each stack, here one."""
        features = self.stem(images)
        return [{name: head(features) for name, head in self.heads.items()}]


class MotLoss(nn.Module):
    """Losses of detection and identity, and the UniTrack loss of the clip."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(HEADS["id"], PEOPLE)

    def forward(self, outputs: list[dict[str, Tensor]], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses; the heat map of ``outputs`` becomes probabilities, in place."""
        unitrack = UniTrackLoss()(fairmot_clip(outputs[-1], batch)).total
        (output,) = outputs
        heat = output["hm"] = output["hm"].sigmoid().clamp(1e-4, 1 - 1e-4)
        peak = batch["hm"] == 1
        missed = (1 - heat[peak]).square() * heat[peak].log()
        false = (1 - batch["hm"]).pow(4) * heat.square() * (1 - heat).log() * ~peak
        mask = batch["reg_mask"].bool()
        at = {name: gather(output[name], batch["ind"])[mask] for name in ("wh", "reg", "id")}
        return {
            "hm_loss": -(missed.sum() + false.sum()) / max(int(peak.sum()), 1),
            "wh_loss": 0.1 * l1_loss(at["wh"], batch["wh"][mask]),
            "off_loss": l1_loss(at["reg"], batch["reg"][mask]),
            "id_loss": 0.5 * cross_entropy(self.classifier(at["id"]), batch["ids"][mask] % PEOPLE),
            "loss_unitrack": unitrack,
        }


def gather(maps: Tensor, index: Tensor) -> Tensor:
    """Return ``maps (T, C, h, w)`` at the cells ``index (T, K)``, ``(T, K, C)``."""
    return maps.flatten(2).mT.gather(1, index[..., None].expand(-1, -1, maps.shape[1]))


def make_batch(objects: Objects) -> dict[str, Tensor]:
    """Return the targets of a clip as FairMOT's loader makes them."""
    rows, columns, most = SIZE[0] // STRIDE, SIZE[1] // STRIDE, max(len(one["boxes"]) for one in objects)
    frames = len(objects)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    batch = {
        "hm": torch.zeros(frames, 1, rows, columns),
        "reg_mask": torch.zeros(frames, most, dtype=torch.uint8),
        "ind": torch.zeros(frames, most, dtype=torch.int64),
        "wh": torch.zeros(frames, most, 4),
        "reg": torch.zeros(frames, most, 2),
        "ids": torch.zeros(frames, most, dtype=torch.int64),
        "bbox": torch.zeros(frames, most, 4),
    }
    for frame, one in enumerate(objects):
        for row, (box, identity) in enumerate(zip(one["boxes"], one["track_ids"], strict=True)):
            center, size = box[:2] * torch.tensor([columns, rows]), box[2:] * torch.tensor([columns, rows])
            cell = center.long().clamp(min=0).minimum(torch.tensor([columns - 1, rows - 1]))
            spread = (size.min() / 6).clamp(min=0.5)
            heat = torch.exp(-((x - cell[0]) ** 2 + (y - cell[1]) ** 2) / (2 * spread**2))
            batch["hm"][frame, 0] = batch["hm"][frame, 0].maximum(heat)
            batch["reg_mask"][frame, row] = 1
            batch["ind"][frame, row] = cell[1] * columns + cell[0]
            batch["bbox"][frame, row] = torch.cat([center - size / 2, center + size / 2])
            batch["wh"][frame, row] = torch.cat([cell - center + size / 2, center + size / 2 - cell])
            batch["reg"][frame, row] = center - cell
            batch["ids"][frame, row] = identity
    return batch


def main(arguments: list[str] | None = None) -> list[dict[str, float]]:
    """Train, print the losses, and return those of each step."""
    steps = steps_from(arguments, "Train the heads of FairMOT with the UniTrack loss.")
    torch.manual_seed(0)
    model, loss = Heads(), MotLoss()
    return train(
        nn.ModuleList([model, loss]), lambda images, objects: loss(model(images), make_batch(objects)), 3, steps
    )


if __name__ == "__main__":
    main()
