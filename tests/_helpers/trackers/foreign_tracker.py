"""A third-party tracker similar to MOTR, its training loop, and a plug-in for it."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mot_core.plugins import Plugin
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec
from mot_core.tap import Tap

SPEC = TrackerSpec("foreign", frozenset({"embeddings", "live_boxes", "decoder_layer"}), embed_dim=6, decoder_layers=1)


class Custom(torch.autograd.Function):
    """Custom activation checkpointing, as in some projects: no graph in forward, recomputation in backward."""

    @staticmethod
    def forward(ctx, function, module, image):
        ctx.function, ctx.module = function, module
        ctx.save_for_backward(image)
        with torch.no_grad():
            return function(image)

    @staticmethod
    def backward(ctx, *gradients):
        (image,) = ctx.saved_tensors
        parameters = list(ctx.module.parameters())
        with torch.enable_grad():
            outputs = ctx.function(image)
        found = torch.autograd.grad(outputs, parameters, gradients, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return None, None, None


class Criterion(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight_dict = {"loss_box": 2.0, "loss_size": 1.0}

    def forward(self, outputs, batch):
        boxes = torch.stack(outputs["boxes"])
        return {"loss_box": boxes.square().mean(), "loss_size": boxes[..., 2:].mean(), "error": torch.tensor(3.0)}


class Foreign(nn.Module):
    """Tracker similar to MOTR: frames in plain methods, outputs without embeddings, a separate criterion."""

    def __init__(self, checkpointing=None):
        super().__init__()
        self.stem = nn.Linear(5, 6)
        self.decoder = nn.ModuleDict({"norm1": nn.LayerNorm(6), "ffn": nn.Linear(6, 6)})
        self.boxes = nn.Linear(6, 4)
        self.criterion = Criterion()
        self.checkpointing = checkpointing

    def _network(self, image):
        hidden = self.decoder["norm1"](self.stem(image))
        embeddings = hidden + self.decoder["ffn"](hidden).relu()
        return self.boxes(embeddings).sigmoid(), embeddings

    def _forward_single_image(self, image):
        if self.checkpointing == "custom" and self.training:
            return Custom.apply(self._network, self, image.requires_grad_())
        if self.checkpointing is not None and self.training:
            return checkpoint(self._network, image.requires_grad_(), use_reentrant=self.checkpointing == "reentrant")
        return self._network(image)

    def _post_process_single_image(self, result, time):
        return result[0]

    def forward(self, images):
        results = [self._forward_single_image(image) for image in images]
        return {"boxes": [self._post_process_single_image(result, time) for time, result in enumerate(results)]}


class Size(Plugin):
    """Plug-in with a loss on the size of embeddings."""

    name = "size"
    requires = ("embeddings",)

    def setup(self, spec):
        self.scale = nn.Parameter(torch.ones(spec.embed_dim))
        return {}

    def on_clip_loss(self, clip, ctx):
        ctx.log("frames", len(clip.frames))
        return {"mean": torch.stack([(frame.embeddings * self.scale).square().mean() for frame in clip.frames]).mean()}


def images(frames=3):
    return torch.randn(frames, 1, 7, 5, generator=torch.Generator().manual_seed(1))


def build(checkpointing=None):
    torch.manual_seed(0)
    return Foreign(checkpointing)


def tap_motr(model, *plugins, **options):
    """Attach a tap: capture at the method that receives the output of the checkpoint, add losses to the criterion."""
    tap = Tap(model, SPEC, *plugins, **options)

    def read(result, time):
        boxes, embeddings = result
        valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
        size = torch.ones(1, 2)
        return FrameOutput(boxes, boxes[..., :1], valid, size, torch.tensor([time]), embeddings=embeddings)

    tap.method(model, "_post_process_single_image", before=read, key="frames")
    tap.loss(model.criterion, lambda outputs, batch: ClipOutput(list(tap.captured["frames"])))
    return tap


def train_step(model, optimizer, weights=None):
    """Train one step as such projects do: only losses in the dictionary of weights count."""
    losses = model.criterion(model(images()), None)
    weights = model.criterion.weight_dict if weights is None else weights
    total = sum(losses[key] * weights[key] for key in losses if key in weights)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return {name: value.detach() for name, value in losses.items()} | {"total": total.detach()}


def run(model, steps=3, weights=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return [train_step(model, optimizer, weights) for _ in range(steps)]


def own_state(model):
    return {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("plugins.")}


def assert_equal(a, b):
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)
