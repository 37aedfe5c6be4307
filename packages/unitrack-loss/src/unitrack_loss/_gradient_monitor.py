"""Monitoring of the loss's share of the gradient, with warnings when it has no effect."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mot_core.structures import ClipOutput
from unitrack_loss.loss import UniTrackOutput

PATIENCE = 20  # measurements without flow on correct edges before the warning
NO_FLOW = 0.01


class GradientMonitor:
    """Measures which share of a tracker's gradient comes from the loss.

    ::

        share = |g_unitrack| / (|g_unitrack| + |g_other|)

    >>> monitor = GradientMonitor()
    >>> own, x = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    >>> h = own * x
    >>> loss = h**2
    >>> monitor.observe(loss, [h])
    True
    >>> (0.25 * loss + 2 * h).backward()
    >>> round(monitor.share.item(), 3)  # 0.25 * 12 / (0.25 * 12 + 2)
    0.6
    """

    def __init__(self) -> None:
        self._ours = self._others = torch.zeros(())
        self._weight: Tensor | None = None
        self._without_flow = 0
        self._warned: set[str] = set()
        self._heard: list[Tensor] = []
        self._stop: Callable[[], None] = lambda: None

    def listen(self, head: object) -> None:
        """Record the inputs of a tracker's last class head until :meth:`tensors` is called.

        All predictions of the last layer derive from these inputs. The embeddings passed to plug-ins may be a copy that
        receives no gradient from the tracker's own box and class losses.

        Args:
            head: Class head; anything but a module disables recording.
        """
        self._stop()
        self._heard = heard = []
        if isinstance(head, nn.Module):
            self._stop = head.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0])).remove

    def tensors(self, clip: ClipOutput) -> list[Tensor]:
        """Return the class head's inputs, or else the outputs of the clip, at which to compare gradients."""
        self._stop()
        heard, self._heard = self._heard, []
        live = {id(one): one for one in heard if one.requires_grad}
        return list(live.values()) or live_tensors(clip)

    @property
    def share(self) -> Tensor | None:
        """The loss's share of the gradient at the observed tensors, as a ratio of norms.

        None before the first backward pass.
        """
        if self._weight is None:
            return None
        ours, others = self._ours.sqrt(), self._others.sqrt()
        return ours / (ours + others).clamp(min=1e-30)

    def observe(self, loss: Tensor, tensors: Sequence[Tensor]) -> bool:
        """Compare the gradient of ``loss`` at ``tensors`` with the total gradient of the next backward pass.

        Args:
            loss: Unweighted loss.
            tensors: Tensors of the tracker at which gradients are compared.

        Returns:
            Whether the loss has a nonzero gradient at ``tensors``.
        """
        if not tensors:
            return False
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        self._weight = None

        def begin(weight: Tensor) -> None:  # a backward pass reaches the loss before its inputs
            self._weight = weight.detach()
            self._ours = self._others = torch.zeros_like(weight)

        def compare(ours: Tensor | None, total: Tensor) -> None:
            if self._weight is None:  # a backward pass of other losses alone
                return
            ours = torch.zeros_like(total) if ours is None else self._weight * ours
            self._ours = self._ours + ours.square().sum()
            self._others = self._others + (total - ours).square().sum()

        loss.register_hook(begin)  # type: ignore[no-untyped-call]
        for tensor, ours in zip(tensors, gradients, strict=True):
            tensor.register_hook(partial(compare, ours))  # type: ignore[no-untyped-call]
        return any(ours is not None and bool(ours.any()) for ours in gradients)

    def check(self, output: UniTrackOutput, reached: bool) -> None:
        """Warn once about each reason why the loss has no effect.

        Args:
            output: Output of the loss in a training step.
            reached: Whether its gradient reached the tracker.
        """
        total, edges, flow = torch.stack([output.total.detach(), output.num_edges, output.edge_flow]).tolist()
        if not math.isfinite(total):
            self._warn(f"expected a finite loss, got {total}; check for non-finite boxes, logits and embeddings")
        elif edges:
            self._without_flow = self._without_flow + 1 if flow < NO_FLOW else 0
            if not reached:
                self._warn("expected a gradient at the tracker's outputs, got none; check for detached tensors")
            elif self._without_flow == PATIENCE:
                self._warn(
                    f"expected flow on correct edges, got less than {NO_FLOW} in the last {PATIENCE} measurements; "
                    "try a longer warm-up, a lower learning rate or a higher temperature tau"
                )

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            warnings.warn(f"unitrack: {sentence}", stacklevel=3)


def live_tensors(clip: ClipOutput) -> list[Tensor]:
    """Return the embeddings that require a gradient, or else the boxes, logits and association logits.

    A view of a larger tensor is replaced by that tensor, which the tracker's own losses use.
    """
    for names in (("embeddings",), ("boxes_cxcywh", "logits", "assoc")):
        found = [getattr(frame, name) for frame in clip.frames for name in names]
        live = [one if one._base is None else one._base for one in found if one is not None and one.requires_grad]
        if live:
            return list({id(one): one for one in live}.values())
    return []
