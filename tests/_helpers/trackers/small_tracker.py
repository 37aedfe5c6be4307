"""A minimal tracker with track queries that calls every hook, and plug-ins for the hooks."""

from dataclasses import replace

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mot_core.plugins import Plugin, Plugins
from mot_core.structures import ClipOutput, FeaturePyramid, FrameOutput, FrameTargets, TrackerSpec, TrackState

WIDTH, QUERIES, LAYERS = 8, 5, 2


class SmallTracker(nn.Module):
    """Tracker with learned and track queries on one feature map; objects are matched to slots by position."""

    capabilities = frozenset(
        {"features", "decoder_layer", "embeddings", "live_boxes", "ids", "track_queries", "box_head"}
    )

    def __init__(self, *plugins, checkpointing=None, dropout=0.1):
        super().__init__()
        self.backbone = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.queries = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.attention = nn.ModuleList(nn.MultiheadAttention(WIDTH, 2, batch_first=True) for _ in range(LAYERS))
        self.feed_forward = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
        self.dropout = nn.Dropout(dropout)
        self.box_head = nn.Linear(WIDTH, 4)
        self.class_head = nn.Linear(WIDTH, 1)
        self.update = nn.Linear(WIDTH, WIDTH)
        self.checkpointing = checkpointing
        self.plugins = Plugins(*plugins)
        self.options = self.plugins.setup(
            TrackerSpec(
                "small", self.capabilities, embed_dim=WIDTH, feature_channels=(WIDTH,), strides=(4,),
                decoder_layers=LAYERS, box_head=self.box_head, class_head=self.class_head,
                accepts={"query_update": frozenset({"plugin"})},
            )
        )  # fmt: skip

    def network(self, image, queries, ctx):
        level = self.backbone(image)
        mask = torch.zeros(len(image), *level.shape[-2:], dtype=torch.bool)
        pyramid = self.plugins.on_features(FeaturePyramid((level,), (mask,)), ctx)
        memory = pyramid.levels[0].flatten(2).transpose(1, 2)
        for layer in range(LAYERS):
            queries = queries + self.attention[layer](queries, memory, memory)[0]
            queries = self.plugins.on_decoder_layer(layer, queries, ctx)
            queries = queries + self.dropout(self.feed_forward[layer](queries).relu())
        return queries

    def predict(self, image, time, tracks, ctx):
        clips = len(image)
        queries = torch.cat([self.queries.expand(clips, -1, -1), tracks.queries], 1)
        if self.checkpointing is None or not self.training:
            embeddings = self.network(image, queries, ctx)
        else:
            options = {"use_reentrant": self.checkpointing == "reentrant"}
            embeddings = checkpoint(self.network, image, queries, ctx, **options)
        is_track = torch.cat([torch.zeros(clips, QUERIES, dtype=torch.bool), tracks.valid], 1)
        return FrameOutput(
            self.box_head(embeddings).sigmoid(), self.class_head(embeddings), torch.ones_like(is_track),
            torch.tensor([image.shape[-2:]] * clips), torch.full((clips,), time), is_track=is_track,
            track_ids=torch.cat([torch.full((clips, QUERIES), -1), tracks.ids], 1), embeddings=embeddings,
        )  # fmt: skip

    def match(self, frame, targets):
        """Assign track queries to the object of their identity, and the first queries to the remaining objects."""
        index = torch.full(frame.valid.shape, -1)
        for clip in range(len(index)):
            ids = targets.ids[clip].tolist()
            tracks = frame.track_ids[clip].tolist()
            index[clip] = torch.tensor([ids.index(one) if one >= 0 and one in ids else -1 for one in tracks])
            free = [row for row, one in enumerate(ids) if one >= 0 and one not in tracks]
            index[clip, : len(free)] = torch.tensor(free, dtype=torch.int64)
        return replace(frame, gt_index=index)

    def form_tracks(self, frame, ids):
        """Keep all slots with an identity as tracks, padded to the number of slots."""
        valid = ids >= 0
        return TrackState(
            ids, valid, frame.boxes_cxcywh, frame.logits.sigmoid()[..., 0], embeddings=frame.embeddings,
            queries=frame.embeddings + self.update(frame.embeddings)
            if self.options["query_update"] == "tracker" else frame.embeddings,
        )  # fmt: skip

    def no_tracks(self, clips):
        ids = torch.full((clips, 0), -1)
        return TrackState(ids, ids >= 0, queries=torch.zeros(clips, 0, WIDTH), embeddings=torch.zeros(clips, 0, WIDTH))

    def forward(self, images, targets, step=0, log=lambda name, value: None):
        """Return the losses of clips ``images (B, T, 3, H, W)`` by name, and the clip."""
        ctx = self.plugins.start_clip(training=self.training, step=step, log=log)
        tracks, frames, own = self.no_tracks(len(images)), [], {}
        for time, truth in enumerate(targets):
            here = ctx.at(time, truth)
            frame = self.plugins.on_embeddings(self.predict(images[:, time], time, tracks, here), here)
            frame = self.match(frame, truth)
            assigned = frame.gt_index >= 0
            ids = truth.ids.gather(1, frame.gt_index.clamp(min=0)).where(assigned, -1)
            tracks = self.plugins.on_tracks_update(frame, self.form_tracks(frame, ids), here)
            boxes = truth.boxes_cxcywh.gather(1, frame.gt_index.clamp(min=0)[..., None].expand(-1, -1, 4))
            own[f"frame_{time}_box"] = ((frame.boxes_cxcywh - boxes).abs().sum(-1) * assigned).sum()
            own[f"frame_{time}_class"] = nn.functional.binary_cross_entropy_with_logits(
                frame.logits[..., 0], assigned.to(frame.logits.dtype)
            )
            frames.append(frame)
        clip = ClipOutput(frames, list(targets))
        return own, self.plugins.losses(clip, ctx, own), clip

    @torch.no_grad()
    def track(self, images):
        """Return the identities ``(N,)`` of the slots in every frame of ``(T, 3, H, W)``; no births after frame 0."""
        ctx = self.plugins.start_clip(training=False)
        tracks, found = self.no_tracks(1), []
        for time, image in enumerate(images):
            here = ctx.at(time)
            frame = self.plugins.on_embeddings(self.predict(image[None], time, tracks, here), here)
            detections = replace(frame, **{
                name: getattr(frame, name)[:, :QUERIES]
                for name in ("boxes_cxcywh", "logits", "valid", "is_track", "track_ids", "gt_index", "embeddings")
            })  # fmt: skip
            if time == 0:
                ids = torch.arange(QUERIES)[None]
            else:
                scores = self.plugins.on_associate(detections, tracks, here)
                if scores is None:
                    scores = tracks.embeddings @ detections.embeddings.transpose(1, 2)
                ids = tracks.ids.gather(1, scores.argmax(1))
            tracks = self.plugins.on_tracks_update(detections, self.form_tracks(detections, ids), here)
            found.append(ids[0].tolist())
        return found


def make_batch(clips=2, frames=3, objects=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(clips, frames, 3, 16, 24, generator=random)
    targets = []
    for _ in range(frames):
        ids = torch.stack([torch.randperm(objects, generator=random) for _ in range(clips)])
        boxes = torch.rand(clips, objects, 4, generator=random)
        depth = {"depth": torch.rand(clips, 1, 4, 6, generator=random)}
        targets.append(FrameTargets(boxes, torch.zeros_like(ids), ids, ids >= 0, depth))
    return images, targets


class Depth(Plugin):
    """Like the spatial adapter of FDTA: learns depth, and adds it to queries through a gate initialized to zero."""

    name = "depth"
    requires = ("features", "decoder_layer")

    def setup(self, spec):
        self.head = nn.Conv2d(spec.feature_channels[0], 1, 1)
        self.value = nn.Linear(spec.feature_channels[0], spec.embed_dim)
        self.gates = nn.Parameter(torch.zeros(spec.decoder_layers))
        self.dropout = nn.Dropout(0.5)
        return {}

    def on_clip_start(self, ctx):
        ctx.store["errors"] = {}

    def on_features(self, features, ctx):
        level = features.levels[0]
        ctx.store[ctx.frame] = level.mean((2, 3))
        if ctx.targets is not None:
            depth = nn.functional.adaptive_avg_pool2d(ctx.targets.extras["depth"], level.shape[-2:])
            ctx.store["errors"][ctx.frame] = (self.head(level) - depth).square().mean()
        return features

    def on_decoder_layer(self, layer, hidden, ctx):
        context = self.dropout(self.value(ctx.store[ctx.frame]))[:, None]
        return hidden + self.gates[layer].tanh() * context

    def on_clip_loss(self, clip, ctx):
        return {"loss": torch.stack([*ctx.store["errors"].values()]).mean()}


class Refiner(Plugin):
    """Like a learnable association: refines embeddings and boxes with the tracker's head, and keeps the raw ones."""

    name = "refiner"
    requires = ("embeddings",)

    def setup(self, spec):
        self.refine = nn.Linear(spec.embed_dim, spec.embed_dim)
        nn.init.zeros_(self.refine.weight)
        nn.init.zeros_(self.refine.bias)
        return {"query_update": "plugin"}

    def on_embeddings(self, frame, ctx):
        embeddings = frame.embeddings + self.refine(frame.embeddings)
        boxes = ctx.spec.box_head(embeddings).sigmoid()
        ctx.store[ctx.frame] = embeddings.square().mean()
        return replace(frame, embeddings=embeddings, boxes_cxcywh=boxes, aux=(*frame.aux, frame))

    def on_tracks_update(self, frame, tracks, ctx):
        return tracks if tracks.queries is None else replace(tracks, queries=tracks.queries * 0.5)

    def on_clip_loss(self, clip, ctx):
        size = torch.stack([*ctx.store.values()]).mean()
        ctx.log("score", size.detach())
        return {"size": size}

    def on_associate(self, frame, tracks, ctx):
        return tracks.boxes_cxcywh.new_ones(*tracks.ids.shape, 1).expand(-1, -1, frame.valid.shape[1]).clone()


class Pull(Plugin):
    """Like a graph loss: penalizes the motion of boxes of one identity."""

    name = "pull"
    requires = ("ids", ("live_boxes", "embeddings", "assoc"))

    def on_clip_loss(self, clip, ctx):
        from mot_core.slots import trajectories

        found = trajectories(clip)
        both = found.present[..., 1:] & found.present[..., :-1]
        steps = found.boxes_cxcywh.diff(dim=2).square().sum(-1)
        return {"step": (steps * both).sum() / both.sum().clamp(min=1)}
