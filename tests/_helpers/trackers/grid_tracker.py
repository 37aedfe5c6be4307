"""A tracker without a mot_core detector: one slot per grid cell, and SORT for identities."""

import torch
from torch import nn

from mot_core.association import Sort
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec
from mot_core.trackers import FrameTracks, Tracker

ROWS, COLUMNS = 6, 10


class GridTracker(Tracker):
    """Predict one box per grid cell. An object belongs to the cell of its center.

    Args:
        width: Channels of the network.
        threshold: Detections below this score are ignored in tracking.
    """

    capabilities = frozenset({"embeddings", "live_boxes", "ids"})
    tracking_parameters = ("threshold",)

    def __init__(self, optimizer=None, *, width: int = 32, threshold: float = 0.5, seed: int = 0) -> None:
        super().__init__(optimizer, seed=seed)
        self.threshold = threshold
        self.width = width
        layers = [nn.Conv2d(3, width, 5, 2, 2), nn.ReLU(), nn.Conv2d(width, width, 5, 2, 2), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d((ROWS, COLUMNS)))
        self.head = nn.Linear(width, 5)
        self.sort = Sort(min_hits=1)

    @property
    def spec(self):
        return TrackerSpec(type(self).__name__, self.capabilities, embed_dim=self.width, accepts=self.accepts)

    def predict(self, batch, time, ctx):
        """Predict boxes, scores and embeddings of all cells of a frame."""
        embeddings = self.network(batch.images[:, time]).flatten(2).transpose(1, 2)
        cell = torch.arange(ROWS * COLUMNS, device=embeddings.device)
        corner = torch.stack([cell % COLUMNS, cell // COLUMNS], -1)
        raw = self.head(embeddings)
        center = (corner + raw[..., :2].sigmoid()) / corner.new_tensor([COLUMNS, ROWS])
        boxes, valid = torch.cat([center, raw[..., 2:4].sigmoid()], -1), torch.ones_like(raw[..., 0], dtype=torch.bool)
        frame = FrameOutput(boxes, raw[..., 4:], valid, batch.image_size, batch.times[:, time], embeddings=embeddings)
        return self.plugins.on_embeddings(frame, ctx)

    def clip_losses(self, batch, ctx):
        frames, losses = [], {"class": 0.0, "l1": 0.0}
        for time, truth in enumerate(batch.targets):
            frame = self.predict(batch, time, ctx.at(time, truth))
            x, y = (truth.boxes_cxcywh[..., :2] * truth.boxes_cxcywh.new_tensor([COLUMNS, ROWS])).long().unbind(-1)
            cell = (y.clamp(0, ROWS - 1) * COLUMNS + x.clamp(0, COLUMNS - 1)).where(truth.valid, 0)
            frame.gt_index.fill_(-1)
            for clip, row in truth.valid.nonzero().tolist():
                frame.gt_index[clip, cell[clip, row]] = row
            wanted = (frame.gt_index >= 0).to(frame.logits)
            entropy = nn.functional.binary_cross_entropy_with_logits(frame.logits[..., 0], wanted, reduction="sum")
            losses["class"] += entropy / wanted.sum().clamp(min=1)
            own = frame.boxes_cxcywh.gather(1, cell[..., None].expand(-1, -1, 4))
            losses["l1"] += (own - truth.boxes_cxcywh)[truth.valid].abs().sum() / truth.valid.sum().clamp(min=1)
            frames.append(frame)
        return losses, ClipOutput(frames, batch.targets)

    def track_frame(self, batch, ctx):
        frame = self.predict(batch, 0, ctx)
        scores = frame.logits[0, :, 0].sigmoid()
        kept = scores > self.threshold
        boxes = frame.boxes_cxcywh[0, kept]
        tracks = self.sort.update(cxcywh_to_xyxy(boxes) * 1000, scores[kept])
        rows = torch.as_tensor(tracks.detection_index)
        ids = torch.as_tensor(tracks.ids).long()
        return FrameTracks(ids, boxes[rows], scores[kept][rows], torch.zeros_like(ids))

    def reset(self):
        self.sort.reset()
