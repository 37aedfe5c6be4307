"""Attach plug-ins to a third-party tracker without changing its code; everything can be undone.

>>> import torch
>>> model = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
>>> tap = Tap(model, TrackerSpec("foreign"))
>>> tap.output("norm1")
>>> with tap:
...     _ = model(torch.zeros(2, 5, 8))
...     print(tap.captured["norm1"][0].shape)
torch.Size([2, 5, 8])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from mot_core.plugins import Context, Plugin, Plugins
from mot_core.plugins.runner import in_backward
from mot_core.structures import ClipOutput, TrackerSpec

_MISSING = object()


class Tap:
    """Plug-ins on a third-party tracker, until :meth:`detach` or the end of the ``with`` block.

    The parameters of the plug-ins immediately become parameters of the model (``plugins.<name>.*``). Create the Tap
    before the optimizer, and before the model is wrapped for distributed training.

    Attributes:
        plugins: The hooks, to be called where you pass the tracker's tensors to ``on_features`` and others.
        captured: Values captured by :meth:`output` and :meth:`method` since the last loss, in the order of calls.
        step: Number of completed steps, for the warm-up of weights. Set it after loading a checkpoint.
        epoch: Training epoch. Set it if a plug-in depends on it.

    Args:
        model: Tracker, not wrapped.
        spec: Capabilities of the tracker, which you know from its code.
        plugins: Plug-ins to attach.
        log: Called with name and value of every loss.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: TrackerSpec,
        *plugins: Plugin,
        log: Callable[[str, Any], None] = lambda name, value: None,
    ) -> None:
        if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            raise ValueError(
                f"model: expected the bare tracker, got {type(model).__name__}, which would not synchronize the "
                "plug-ins; pass model.module before it is wrapped"
            )
        if isinstance(model, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            raise ValueError(
                f"model: expected a module with a forward of its own, got {type(model).__name__}, which would run the "
                "plug-ins as one of its children; pass its parent module"
            )
        if hasattr(model, "plugins"):
            raise ValueError(
                f"model: {type(model).__name__} already has an attribute 'plugins'; detach the other Tap first"
            )
        self.model = model
        self.plugins = Plugins(*plugins)
        self.plugins.setup(spec)
        self.captured: dict[str, list[Any]] = {}
        self.step = 0
        self.epoch = 0
        self._log = log
        self._undo: list[Callable[[], object]] = []
        self._context: Context | None = None
        self._added: set[str] = set()  # losses of the last step
        self._reached: set[str] = set()  # losses that backward reached; "" stands for the tracker's own
        first = next(model.parameters(), None)
        self.plugins.train(model.training).to(None if first is None else first.device)
        model.add_module("plugins", self.plugins)
        self._undo.append(lambda: delattr(model, "plugins"))

    def output(self, path: str, read: Callable[[Any], Any] = lambda output: output, *, live: bool = True) -> None:
        """Capture the output of a module at every call in training, in ``captured[path]``.

        Args:
            path: Path of the module in the model, such as ``transformer.decoder``.
            read: Function that selects the value to keep.
            live: Require a gradient. If False, capture in evaluation too and call :meth:`reset` yourself.
        """
        try:
            module = self.model.get_submodule(path)
        except AttributeError as error:
            raise ValueError(f"path: {type(self.model).__name__} has no module {path!r}: {error}") from None

        def capture(module: nn.Module, arguments: Any, output: Any) -> None:
            if self._captures(live):
                self._capture(path, read(output), f"output {path!r}", live)

        self._undo.append(module.register_forward_hook(capture).remove)

    def method(
        self,
        owner: object,
        name: str,
        *,
        before: Callable[..., Any] | None = None,
        after: Callable[..., Any] | None = None,
        key: str | None = None,
        live: bool = True,
    ) -> None:
        """Capture arguments or result of a plain method, which module hooks do not see, in ``captured[key]``.

        Args:
            owner: Object that has the method: the model or a part of it.
            name: Name of the method.
            before: Called with the arguments before the method, which may change them; returns the value to capture.
            after: Called with the result and the arguments after the method; returns the value to capture.
            key: Key of the captured values; the name by default.
            live: As for :meth:`output`.
        """

        def capture(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            wanted = self._captures(live)
            if wanted and before is not None:
                self._capture(key or name, before(*args, **kwargs), f"method {name!r}", live)
            result = original(*args, **kwargs)
            if wanted and after is not None:
                self._capture(key or name, after(result, *args, **kwargs), f"method {name!r}", live)
            return result

        self.replace(owner, name, capture)

    def replace(self, owner: object, name: str, function: Callable[..., Any]) -> None:
        """Replace a method of this one object by ``function(original, *args, **kwargs)``.

        For modules, the method is ``"forward"``. This adds ``on_decoder_layer`` to a third-party decoder::

            tap.replace(norm, "forward", lambda forward, x: tap.plugins.on_decoder_layer(
                0, forward(x), tap.context.at(0)))

        Pass the frame index instead of 0 if a plug-in stores values by frame. If a checkpoint repeats the module in
        backward, the index must be the same again.
        """
        original = getattr(owner, name, None)
        if not callable(original):
            raise ValueError(f"name: {type(owner).__name__} has no method {name!r}")
        attributes = getattr(owner, "__dict__", None)
        if not isinstance(attributes, dict):  # a class, or an object with __slots__
            raise ValueError(
                f"owner: expected an object with instance attributes, got {owner!r}, whose methods cannot be replaced"
            )
        before = attributes.get(name, _MISSING)

        def replaced(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        attributes[name] = replaced  # not setattr(), which modules override
        self._undo.append(lambda: attributes.pop(name) if before is _MISSING else attributes.update({name: before}))

    def loss(
        self,
        owner: object,
        clip: Callable[..., ClipOutput],
        *,
        method: str = "forward",
        into: str | None = None,
        weight_dict: str | None = None,
    ) -> None:
        """Add the losses of the plug-ins to the result of a criterion in training.

        A dictionary receives a key per loss, and so does the criterion's dictionary of weights if it has one. The sum
        is added to a tensor. In a tuple, the first element is changed. If the training loop ignores the new keys, the
        next step raises ValueError.

        Args:
            owner: Criterion.
            clip: Called with the arguments of the criterion; builds the clip from them and the captured values.
            method: Method of the criterion that computes the loss of a step.
            into: Key of the dictionary to add the sum to, for training loops that read one key only.
            weight_dict: Attribute with the weights by key; ``weight_dict`` by default, if it exists.
        """
        weights = getattr(owner, weight_dict or "weight_dict", None)
        if weight_dict is not None and not isinstance(weights, dict):
            raise ValueError(
                f"weight_dict: {type(owner).__name__}.{weight_dict} must be a dictionary, got {type(weights).__name__}"
            )
        registered: set[str] = set()

        def add(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if not self.model.training or in_backward():
                return result
            self._complain_about_dropped_losses()
            losses = self.plugins.losses(clip(*args, **kwargs), self.context)
            if isinstance(weights, dict) and into is None:
                registered.update(losses.keys() - weights.keys())
                weights.update(dict.fromkeys(losses, 1.0))  # weighted already
            self._end_step(losses)
            return self._merge(result, losses, into)

        self.replace(owner, method, add)
        self._undo.append(lambda: [weights.pop(name) for name in registered] if isinstance(weights, dict) else None)

    @property
    def context(self) -> Context:
        """The context of the current clip or, in tracking, of the sequence until :meth:`reset`."""
        context = self._context
        now = (self.model.training, self.step)
        if context is None or (now != (context.training, context.step) and not in_backward()):
            context = self.plugins.start_clip(training=now[0], step=now[1], epoch=self.epoch, log=self._log)
            self._context = context
        return context

    def reset(self) -> None:
        """Drop captured values before a new clip or sequence. In training, :meth:`loss` does so automatically."""
        self.captured.clear()
        self._context = None

    def detach(self) -> None:
        """Restore the tracker bit for bit."""
        while self._undo:
            self._undo.pop()()
        self.reset()

    def __enter__(self) -> Tap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()
        if error is None:
            self._complain_about_dropped_losses()

    def _captures(self, live: bool) -> bool:
        """Whether to capture now. Values that a checkpoint recomputes in backward are captured already."""
        return (self.model.training or not live) and not in_backward()

    def _capture(self, key: str, value: Any, what: str, live: bool) -> None:
        if live:
            _check_live(value, what)
        self.captured.setdefault(key, []).append(value)

    def _end_step(self, losses: Mapping[str, Tensor]) -> None:
        self.captured.clear()  # the context stays for hooks that a checkpoint repeats in backward
        self.step += 1
        self._added = {name for name, loss in losses.items() if loss.requires_grad}
        self._reached = set()

    def _merge(self, result: Any, losses: dict[str, Tensor], into: str | None) -> Any:
        """The result of a criterion with the losses added, and hooks that record whether backward reaches them."""
        if isinstance(result, tuple):
            return (self._merge(result[0], losses, into), *result[1:])
        if isinstance(result, dict) and into is None:
            for value in result.values():
                self._record_backward("", value)
            for name, loss in losses.items():
                self._record_backward(name, loss)
            return _with(result, losses)
        total = result.get(into) if isinstance(result, dict) else result
        if not isinstance(total, Tensor):
            raise TypeError(
                f"criterion: expected a tensor or a dictionary{f' with a tensor {into!r}' if into else ''} (or a tuple "
                f"that starts with one), got {type(total).__name__}"
            )
        self._added = set()  # a sum cannot be dropped without the tracker's own losses
        for loss in losses.values():
            total = total + loss
        return _with(result, {into: total}) if isinstance(result, dict) and into is not None else total

    def _record_backward(self, name: str, loss: object) -> None:
        if isinstance(loss, Tensor) and loss.requires_grad:
            reached = self._reached
            loss.register_hook(lambda gradient: reached.add(name))  # type: ignore[no-untyped-call]

    def _complain_about_dropped_losses(self) -> None:
        dropped, self._added = self._added - self._reached, set()
        if "" in self._reached and dropped:
            raise ValueError(
                f"the training loop dropped {', '.join(sorted(dropped))}: backward reached the tracker's own losses in "
                "the last step, but not these; name the dictionary of weights it reads (weight_dict=...) or the key it "
                "uses (into=...)"
            )


def _with(result: dict[str, Any], entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the same type with entries set, such as a ModelOutput of transformers with its attributes."""
    merged = copy(result)
    for name, value in entries.items():
        merged[name] = value
    return merged


def _check_live(value: Any, what: str) -> None:
    """Reject floating-point tensors without gradient, anywhere in dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not value.requires_grad:
            raise ValueError(_without_gradient(what))
    elif isinstance(value, dict):
        _check_live(list(value.values()), what)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_live(item, what)


def _without_gradient(what: str) -> str:
    return (
        f"{what} has no gradient in training, so a loss on it would train nothing; it is detached, or runs in a "
        "re-entrant or custom checkpoint: capture the output of the checkpoint (the method that calls it), or pass "
        "live=False if no gradient is wanted"
    )
