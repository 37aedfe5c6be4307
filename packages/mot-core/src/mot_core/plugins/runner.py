"""The plug-ins of one tracker: the order of hook calls, and the checks around them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor, nn

from mot_core.plugins.negotiation import check_capabilities, check_gradient, negotiate
from mot_core.plugins.plugin import Context, Plugin, _log_nothing
from mot_core.structures import ClipOutput, FeaturePyramid, FrameOutput, TrackerSpec, TrackState

ORDER = ["on_features", "on_decoder_layer", "on_embeddings", "on_associate", "on_tracks_update"]
"""The hooks of one frame."""

REPEATED_IN_BACKWARD = {"on_features", "on_decoder_layer"}
"""Hooks inside the network, which checkpointing computes again."""


class Plugins(nn.ModuleDict):
    """The plug-ins of a tracker, in the order of attachment. Without plug-ins, every call is a no-op.

    A tracker holds it as ``self.plugins``, so that parameters are called ``plugins.<name>.*``, and calls

    1. ``setup(spec)`` once;
    2. ``ctx = start_clip(...)`` at the start of every clip or sequence, and ``ctx.at(frame, targets)`` for each frame;
    3. for each frame ``on_features``, ``on_decoder_layer`` in every layer, ``on_embeddings``, [its own matching, which
       sets ``gt_index``; in tracking ``on_associate``,] ``on_tracks_update``;
    4. ``losses(clip, ctx)`` after its own losses, and adds everything it returns.

    In training, the hooks of a plug-in draw random numbers (dropout) of their own, which depend on seed, step, frame
    and layer. So the tracker draws the same numbers with and without plug-ins, and a recomputed hook repeats its own.
    """

    spec: TrackerSpec | None
    options: dict[str, str]

    def __init__(self, *plugins: Plugin) -> None:
        super().__init__()
        self.spec = None
        self.options = negotiate({}, TrackerSpec(""))
        for plugin in plugins:
            self.attach(plugin)

    def attach(self, plugin: Plugin) -> None:
        """Attach a plug-in. Attaching the same one again is ignored: Lightning sets up every stage."""
        if not isinstance(plugin, Plugin):
            raise TypeError(f"plugin: expected a mot_core.plugins.Plugin, got {type(plugin).__name__}")
        name = plugin.name
        if name in self and self[name] is plugin:
            return
        if self.spec is not None:
            raise ValueError(f"plug-in {name!r} must be attached before the tracker is set up")
        if not name.isidentifier() or (hasattr(self, name) and name not in self):
            raise ValueError(
                f"{type(plugin).__name__}: attribute name: expected an identifier such as 'my_loss', got {name!r}"
            )
        if name in self:
            raise ValueError(f"two plug-ins are called {name!r}; names must be unique within a tracker")
        self[name] = plugin

    def setup(self, spec: TrackerSpec) -> dict[str, str]:
        """Check the capabilities of the tracker, let the plug-ins build their modules, and negotiate options.

        Returns:
            All options of :data:`mot_core.plugins.OPTIONS` by name.
        """
        if self.spec is None:
            for plugin in self._all():
                check_capabilities(plugin, spec)
            requests = {}
            for plugin in self._all():
                with _own_randomness(plugin.name, "setup"):
                    requests[plugin.name] = plugin.setup(spec)
                heads = {id(head) for head in (spec.box_head, spec.class_head) if isinstance(head, nn.Module)}
                if any(id(module) in heads for module in plugin.modules()):
                    raise ValueError(
                        f"plug-in {plugin.name!r} stores a head of the tracker as its own module, so that it would be "
                        "saved twice; read it from ctx.spec where it is used"
                    )
            self.options = negotiate(requests, spec)
            self.spec = spec
        return self.options

    def start_clip(
        self, *, training: bool, epoch: int = 0, step: int = 0, log: Callable[[str, Any], None] = _log_nothing
    ) -> Context:
        """Start a clip or, in tracking, a sequence."""
        if self.spec is None:
            raise ValueError("the plug-ins are not set up; call setup(spec) once before the optimizer is built")
        ctx = Context(self.spec, training, epoch, step, log=log)
        for plugin in self._users("on_clip_start"):
            self._call(plugin, "on_clip_start", ctx, type(None))
        return ctx

    def on_features(self, features: FeaturePyramid, ctx: Context) -> FeaturePyramid:
        """Call the hooks before the encoder."""
        for plugin in self._fire("on_features", ctx):
            features = self._call(plugin, "on_features", ctx, FeaturePyramid, features)
        return features

    def on_decoder_layer(self, layer: int, hidden: Tensor, ctx: Context) -> Tensor:
        """Call the hooks between cross-attention and feed-forward block of a decoder layer; ``hidden (B, N, C)``."""
        for plugin in self._fire("on_decoder_layer", ctx, layer):
            changed = self._call(plugin, "on_decoder_layer", ctx, Tensor, layer, hidden)
            hidden = _same_shape(plugin, "on_decoder_layer", changed, tuple(hidden.shape))
        return hidden

    def on_embeddings(self, frame: FrameOutput, ctx: Context) -> FrameOutput:
        """Call the hooks after the heads, before matching."""
        for plugin in self._fire("on_embeddings", ctx):
            frame = self._call(plugin, "on_embeddings", ctx, FrameOutput, frame)
        return frame

    def on_associate(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> Tensor | None:
        """Return the association scores of the first plug-in that has any; None to use the tracker's own."""
        for plugin in self._fire("on_associate", ctx):
            scores = self._call(plugin, "on_associate", ctx, (Tensor, type(None)), frame, tracks)
            if scores is not None:
                return _same_shape(plugin, "on_associate", scores, (*tracks.ids.shape, frame.valid.shape[1]))
        return None

    def on_tracks_update(self, frame: FrameOutput | None, tracks: TrackState, ctx: Context) -> TrackState:
        """Call the hooks after matching, when the next queries or histories are built."""
        for plugin in self._fire("on_tracks_update", ctx):
            tracks = self._call(plugin, "on_tracks_update", ctx, TrackState, frame, tracks)
        return tracks

    def losses(self, clip: ClipOutput, ctx: Context, taken: Collection[str] = ()) -> dict[str, Tensor]:
        """Return the weighted losses of all plug-ins as ``{"<plug-in>/<loss>": scalar}``, to add to the tracker's own.

        Unweighted values go to ``ctx.log``. A weight of 0 does not touch the graph of the tracker; only the plug-in's
        own parameters take part, with gradient 0, as distributed training requires.

        Args:
            clip: All frames of the clip.
            ctx: Context of the clip.
            taken: Names of the tracker's own losses.
        """
        losses: dict[str, Tensor] = {}
        for plugin in self._users("on_clip_loss"):
            if ctx.training:
                check_gradient(plugin, clip)
            weight = plugin.weight_at(ctx.step)
            for key, value in self._call(plugin, "on_clip_loss", ctx, dict, clip).items():
                name = f"{plugin.name}/{key}"
                if name in taken:
                    raise ValueError(f"two losses are called {name!r}")
                if not isinstance(value, Tensor) or value.ndim:
                    raise ValueError(f"loss {name!r} must be a scalar tensor, got {_kind(value)}")
                if ctx.training and torch.is_grad_enabled() and not value.requires_grad:
                    raise ValueError(
                        f"loss {name!r} has no gradient; its inputs are detached, or an .item(), round() or comparison "
                        "cuts the graph"
                    )
                ctx.log(name, value.detach())
                losses[name] = weight * value if weight else _zero(plugin, value)
        return losses

    def tracking(self) -> dict[str, bool]:
        """Return the plug-ins by name, and whether they act in tracking or in training only."""
        users = {plugin.name for hook in ORDER for plugin in self._users(hook)}
        return {plugin.name: plugin.name in users for plugin in self._all()}

    def _all(self) -> list[Plugin]:
        return [cast(Plugin, plugin) for plugin in self.values()]

    def _users(self, hook: str) -> list[Plugin]:
        """The plug-ins that override this hook."""
        return [plugin for plugin in self._all() if getattr(type(plugin), hook) is not getattr(Plugin, hook)]

    def _fire(self, hook: str, ctx: Context, layer: int = 0) -> list[Plugin]:
        """The plug-ins to call, after checking the order of hooks."""
        users = self._users(hook)
        if not users:
            return users
        what = f"{hook} of plug-in {users[0].name!r}, frame {ctx.frame}"
        if in_backward():
            if hook in REPEATED_IN_BACKWARD:
                return users
            raise ValueError(f"{what}: called again in backward; keep it outside the checkpointed part")
        if ctx.training and ctx.has_grad and not torch.is_grad_enabled():
            raise ValueError(
                f"{what}: called without gradient in training; pass has_grad=False if the tracker runs under "
                "torch.no_grad(), or set use_reentrant=False in its checkpoint"
            )
        moment = (ORDER.index(hook), layer)
        if moment in ctx.fired:
            raise ValueError(
                f"{what}: called twice; make a context with ctx.at(frame) for each frame and call each hook once"
            )
        if ctx.fired and moment < ctx.fired[-1]:
            raise ValueError(f"{what}: called after {ORDER[ctx.fired[-1][0]]}; the order is {', '.join(ORDER)}")
        ctx.fired.append(moment)
        return users

    def _call(self, plugin: Plugin, hook: str, ctx: Context, expected: type | tuple[type, ...], *arguments: Any) -> Any:
        """Call one hook of one plug-in, with its own store and random numbers."""
        view = replace(
            ctx,
            store=ctx.store.setdefault(plugin.name, {}),
            log=lambda name, value: ctx.log(f"{plugin.name}/{name}", value),
        )
        layer = arguments[0] if hook == "on_decoder_layer" else 0
        with _own_randomness(plugin.name, hook, layer, ctx.step, ctx.frame, off=not ctx.training):
            returned = getattr(plugin, hook)(*arguments, view)
        if not isinstance(returned, expected):
            wanted = "None" if expected is type(None) else getattr(expected, "__name__", "a Tensor or None")
            raise TypeError(f"{hook} of plug-in {plugin.name!r} must return {wanted}, got {_kind(returned)}")
        return returned


def in_backward() -> bool:
    """Return whether autograd is in backward, so that a forward pass is the recomputation of a checkpoint."""
    return torch._C._current_graph_task_id() != -1


@contextmanager
def _own_randomness(*key: object, off: bool = False) -> Iterator[None]:
    """Draw random numbers that depend on seed and ``key`` only, and leave those of the tracker unchanged."""
    if off:
        yield
        return
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    seed = crc32(repr((torch.initial_seed(), *key)).encode())
    with torch.random.fork_rng([] if device is None else [device]):
        torch.default_generator.manual_seed(seed)
        if device is not None:
            torch.cuda.manual_seed(seed)
        yield


def _zero(plugin: Plugin, value: Tensor) -> Tensor:
    """A zero whose graph contains the plug-in's parameters and nothing of the tracker."""
    zero = torch.zeros_like(value, requires_grad=False)
    for parameter in plugin.parameters():
        zero = zero + 0 * parameter.sum()
    return zero


def _same_shape(plugin: Plugin, hook: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(value.shape) != shape:
        raise ValueError(f"{hook} of plug-in {plugin.name!r} must return shape {shape}, got {tuple(value.shape)}")
    return value


def _kind(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
