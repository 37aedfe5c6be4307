"""A tracker that reports the ground truth, with known scores."""

from mot_core.nn import SetCriterion
from mot_core.structures import ClipOutput
from mot_core.trackers import DetectorSettings, DETRTracker, FrameTracks, frame_output

SMALL = DetectorSettings(
    "small", num_queries=8, embed_dim=32, ffn_dim=32, num_levels=3, num_encoder_layers=1, num_decoder_layers=2
)


class OracleTracker(DETRTracker):
    """Tracker that trains a detector, but reports the ground truth, so that scores are known."""

    capabilities = frozenset({"embeddings"})

    def __init__(self, detector: DetectorSettings = SMALL, *, checkpointing: bool = False, seed: int = 0):
        super().__init__(detector, checkpointing=checkpointing, seed=seed)
        self.criterion = SetCriterion()

    def clip_losses(self, batch, ctx):
        frames, losses = [], {}
        for index, targets in enumerate(batch.targets):
            output, _ = self.detect(batch.images[:, index], batch.padding, ctx.at(index, targets))
            own, gt_index = self.criterion(output, targets)
            losses.update({f"{name}_{index}": loss for name, loss in own.items()})
            frames.append(frame_output(output, batch, index, gt_index=gt_index[-1]))
        return losses, ClipOutput(frames, list(batch.targets))

    def track_frame(self, batch, ctx):
        output, _ = self.detect(batch.images[:, 0], batch.padding, ctx)
        self.plugins.on_embeddings(frame_output(output, batch, 0), ctx)
        truth = batch.targets[0]
        valid = truth.valid[0]
        boxes = truth.boxes_cxcywh[0][valid]
        return FrameTracks(truth.ids[0][valid], boxes, boxes[:, 2], truth.labels[0][valid])

    def reset(self):
        pass
