"""The plug-ins of one tracker: the one place that knows in which order hooks are called, and what can go wrong."""

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
"""Hooks inside the network, which a checkpoint computes again."""


class Plugins(nn.ModuleDict):
    """The plug-ins of a tracker, in the order in which they were attached. Without any, every call is a no-op.

    A tracker holds it as ``self.plugins``, so that parameters are called ``plugins.<name>.*``, and calls

    1. ``setup(spec)`` once;
    2. ``ctx = start_clip(...)`` at the start of every clip or sequence, and ``ctx.at(frame, targets)`` for each frame;
    3. for each frame ``on_features``, ``on_decoder_layer`` in every layer, ``on_embeddings``, [its own matching, which
       sets ``gt_index``; in tracking ``on_associate``,] ``on_tracks_update``;
    4. ``losses(clip, ctx)`` after its own losses, and adds all that is returned.

    In training the hooks of a plug-in draw random numbers (dropout) of their own, which depend on seed, step, frame and
    layer: the tracker draws the same numbers with and without plug-ins, and a recomputed hook those of the first time.
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
        """Add a plug-in; the same one again is ignored (Lightning sets up for every stage)."""
        if not isinstance(plugin, Plugin):
            raise TypeError(f"plug-ins are derived from mot_core.plugins.Plugin, got {type(plugin).__name__}")
        name = plugin.name
        if name in self and self[name] is plugin:
            return
        if self.spec is not None:
            raise ValueError(f"plug-in {name!r} comes too late: attach it before the tracker is set up")
        if not name.isidentifier() or (hasattr(self, name) and name not in self):
            raise ValueError(
                f"{type(plugin).__name__}: its attribute name must be a word such as 'my_loss', got {name!r}"
            )
        if name in self:
            raise ValueError(f"two plug-ins are called {name!r}; one tracker can have one of this name")
        self[name] = plugin

    def setup(self, spec: TrackerSpec) -> dict[str, str]:
        """Check that the tracker has what the plug-ins need, let them build their modules, and agree on options.

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
                        f"plug-in {plugin.name!r} keeps a head of the tracker as its own module, so that it would be "
                        "saved twice; take it from ctx.spec where it is used"
                    )
            self.options = negotiate(requests, spec)
            self.spec = spec
        return self.options

    def start_clip(
        self, *, training: bool, epoch: int = 0, step: int = 0, log: Callable[[str, Any], None] = _log_nothing
    ) -> Context:
        """A clip or, in tracking, a sequence begins."""
        if self.spec is None:
            raise ValueError("the plug-ins are not set up: call setup(spec) once, before there is an optimiser")
        ctx = Context(self.spec, training, epoch, step, log=log)
        for plugin in self._users("on_clip_start"):
            self._call(plugin, "on_clip_start", ctx, type(None))
        return ctx

    def on_features(self, features: FeaturePyramid, ctx: Context) -> FeaturePyramid:
        """Before the encoder."""
        for plugin in self._fire("on_features", ctx):
            features = self._call(plugin, "on_features", ctx, FeaturePyramid, features)
        return features

    def on_decoder_layer(self, layer: int, hidden: Tensor, ctx: Context) -> Tensor:
        """After the norm of the visual cross-attention, before the feed-forward part; ``hidden (B, N, C)``."""
        for plugin in self._fire("on_decoder_layer", ctx, layer):
            changed = self._call(plugin, "on_decoder_layer", ctx, Tensor, layer, hidden)
            hidden = _same_shape(plugin, "on_decoder_layer", changed, tuple(hidden.shape))
        return hidden

    def on_embeddings(self, frame: FrameOutput, ctx: Context) -> FrameOutput:
        """After the heads, before the tracker matches."""
        for plugin in self._fire("on_embeddings", ctx):
            frame = self._call(plugin, "on_embeddings", ctx, FrameOutput, frame)
        return frame

    def on_associate(self, frame: FrameOutput, tracks: TrackState, ctx: Context) -> Tensor | None:
        """In tracking, instead of the tracker's own scores: those of the first plug-in that has any."""
        for plugin in self._fire("on_associate", ctx):
            scores = self._call(plugin, "on_associate", ctx, (Tensor, type(None)), frame, tracks)
            if scores is not None:
                return _same_shape(plugin, "on_associate", scores, (*tracks.ids.shape, frame.valid.shape[1]))
        return None

    def on_tracks_update(self, frame: FrameOutput | None, tracks: TrackState, ctx: Context) -> TrackState:
        """After matching, when the next queries or histories are formed."""
        for plugin in self._fire("on_tracks_update", ctx):
            tracks = self._call(plugin, "on_tracks_update", ctx, TrackState, frame, tracks)
        return tracks

    def losses(self, clip: ClipOutput, ctx: Context, taken: Collection[str] = ()) -> dict[str, Tensor]:
        """The weighted losses of all plug-ins as ``{"<plug-in>/<loss>": scalar}``, to be added to the tracker's.

        The values without weight go to ``ctx.log``. A weight of 0 leaves the graph of the tracker alone; only the
        plug-in's own parameters take part, with gradient 0, as distributed training wants it.

        Args:
            clip: all frames.
            ctx: of the clip.
            taken: names of the tracker's own losses.
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
                    raise ValueError(f"loss {name!r} must be a tensor with one number, got {_kind(value)}")
                if ctx.training and torch.is_grad_enabled() and not value.requires_grad:
                    raise ValueError(
                        f"loss {name!r} has no gradient: what it was computed from is detached, or a .item(), round() "
                        "or comparison cuts the graph"
                    )
                ctx.log(name, value.detach())
                losses[name] = weight * value if weight else _zero(plugin, value)
        return losses

    def tracking(self) -> dict[str, bool]:
        """The plug-ins by name, and whether they take part in tracking, not only in training."""
        users = {plugin.name for hook in ORDER for plugin in self._users(hook)}
        return {plugin.name: plugin.name in users for plugin in self._all()}

    def _all(self) -> list[Plugin]:
        return [cast(Plugin, plugin) for plugin in self.values()]

    def _users(self, hook: str) -> list[Plugin]:
        """The plug-ins that do something in this hook."""
        return [plugin for plugin in self._all() if getattr(type(plugin), hook) is not getattr(Plugin, hook)]

    def _fire(self, hook: str, ctx: Context, layer: int = 0) -> list[Plugin]:
        """The plug-ins to call, once it is clear that this is the right moment."""
        users = self._users(hook)
        if not users:
            return users
        what = f"{hook} of plug-in {users[0].name!r}, frame {ctx.frame}"
        if in_backward():
            if hook in REPEATED_IN_BACKWARD:
                return users
            raise ValueError(f"{what}, fired again in backward: keep it outside the part that is checkpointed")
        if ctx.training and ctx.has_grad and not torch.is_grad_enabled():
            raise ValueError(
                f"{what}, fired without gradient in training: the tracker runs under torch.no_grad() (then say so with "
                "has_grad=False) or in a re-entrant checkpoint (then use use_reentrant=False)"
            )
        moment = (ORDER.index(hook), layer)
        if moment in ctx.fired:
            raise ValueError(f"{what}, fired twice: make a context with ctx.at(frame) for each frame, and call it once")
        if ctx.fired and moment < ctx.fired[-1]:
            raise ValueError(f"{what}, fired after {ORDER[ctx.fired[-1][0]]}; the order is {', '.join(ORDER)}")
        ctx.fired.append(moment)
        return users

    def _call(self, plugin: Plugin, hook: str, ctx: Context, expected: type | tuple[type, ...], *arguments: Any) -> Any:
        """One hook of one plug-in, with a store and random numbers of its own."""
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
    """Whether autograd is running backward: then a forward is the recomputation of a checkpoint."""
    return torch._C._current_graph_task_id() != -1


@contextmanager
def _own_randomness(*key: object, off: bool = False) -> Iterator[None]:
    """Random numbers that depend on the seed and ``key`` alone; afterwards those of the tracker go on as before."""
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
    """0, with the plug-in's parameters in its graph and nothing of the tracker."""
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
