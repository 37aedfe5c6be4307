"""A small MOTIP in double precision, clips for it, and plug-ins."""

from dataclasses import replace

import torch

from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.plugins import Plugin
from mot_core.structures import FrameTargets
from mot_core.trackers import MOTIP, DetectorSettings

SMALL = DetectorSettings(
    "small", num_queries=8, embed_dim=32, num_heads=4, ffn_dim=32, num_levels=3, num_encoder_layers=1,
    num_decoder_layers=2,
)  # fmt: skip


def make(*plugins, detector=SMALL, **arguments):
    """Build a small MOTIP in double precision that detects several objects with random weights."""
    torch.manual_seed(0)
    tracker = MOTIP(detector, **({"id_layers": 2, "id_head_dim": 16, "groups": 2} | arguments)).double()
    with torch.no_grad():
        for head in tracker.detector.class_heads:
            head.bias.zero_()
            head.weight.mul_(3)
        for head in tracker.detector.decoder.box_heads:
            list(head.parameters())[-2].normal_(std=0.3)
    for plugin in plugins:
        tracker.attach(plugin.double())
    return tracker


def clips(count=2, frames=4, objects=(2, 4), **arguments):
    source = SyntheticVideo(num_videos=4, num_frames=frames, image_size=(32, 48), num_objects=objects, **arguments)
    dataset = ClipDataset(source, ClipSampling(frames))
    return double(collate([dataset[index] for index in range(count)]))


def double(batch):
    targets = [replace(frame, boxes_cxcywh=frame.boxes_cxcywh.double()) for frame in batch.targets]
    return replace(batch, images=batch.images.double(), targets=tuple(targets))


def one_clip(batch, row):
    def pick(value):
        return value[row : row + 1]

    targets = [
        FrameTargets(
            pick(frame.boxes_cxcywh), pick(frame.labels), pick(frame.ids), pick(frame.valid),
            {name: pick(value) for name, value in frame.extras.items()},
        )
        for frame in batch.targets
    ]  # fmt: skip
    names = ("images", "padding", "image_size", "original_size", "times", "sequences")
    return replace(batch, **{name: pick(getattr(batch, name)) for name in names}, targets=tuple(targets))


def frames_of(batch):
    """Yield the frames of the first clip as a stream."""
    clip = one_clip(batch, 0)
    for time in range(clip.num_frames):
        now = slice(time, time + 1)
        yield replace(clip, images=clip.images[:, now], times=clip.times[:, now], targets=clip.targets[now])


def gradients(tracker, batch, step=0):
    tracker.zero_grad()
    losses, clip = tracker.losses(batch, step=step)
    sum(losses.values()).backward()
    return losses, clip, {name: one.grad for name, one in tracker.named_parameters() if one.grad is not None}


class Silent(Plugin):
    """Plug-in that uses every hook without changes; its loss has weight zero."""

    name = "silent"
    requires = ("features", "decoder_layer", "embeddings", "live_boxes", "ids", "box_head")

    def __init__(self):
        super().__init__(weight=0)
        self.calls = []

    def on_features(self, features, ctx):
        rows = None if ctx.targets is None else len(ctx.targets.ids)
        self.calls.append(("features", ctx.frame, len(features.levels[0]), rows, ctx.has_grad))
        return features

    def on_decoder_layer(self, layer, hidden, ctx):
        torch.rand(3)
        return hidden

    def on_embeddings(self, frame, ctx):
        self.calls.append(("embeddings", ctx.frame, ctx.has_grad, frame.has_grad))
        return replace(frame)

    def on_associate(self, frame, tracks, ctx):
        self.calls.append(("associate", ctx.frame, tracks, frame))

    def on_tracks_update(self, frame, tracks, ctx):
        self.calls.append(("history", frame, tracks))
        return replace(tracks)

    def on_clip_loss(self, clip, ctx):
        return {"boxes": clip.frames[0].boxes_cxcywh.sum() + sum(f.embeddings.sum() for f in clip.frames)}


class Scaled(Plugin):
    """Plug-in that doubles the embeddings of histories."""

    name = "scaled"
    requires = ("embeddings",)

    def on_tracks_update(self, frame, tracks, ctx):
        return replace(tracks, history=2 * tracks.history)
