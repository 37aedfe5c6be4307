"""Whether the loss teaches anything: its share of the gradient, and a warning where it has none."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mot_core.structures import ClipOutput
from unitrack_loss.loss import UniTrackOutput

PATIENCE = 20  # looks without flow on right edges before the warning
NO_FLOW = 0.01


class GradientMonitor:
    """Looks at a training step now and then.

    >>> monitor = GradientMonitor()
    >>> own, x = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    >>> h = own * x
    >>> loss = h**2
    >>> monitor.observe(loss, [h])
    True
    >>> (0.25 * loss + 2 * h).backward()
    >>> round(monitor.share.item(), 3)  # 0.25 * 12 of 0.25 * 12 + 2
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
        """Note what goes into the last class head of a tracker, until :meth:`tensors` is asked for.

        All predictions of the last layer come from there. The embeddings that plug-ins get may be a copy of it, which
        the tracker's own losses on boxes and classes do not pass.
        """
        self._stop()
        self._heard = heard = []
        if isinstance(head, nn.Module):
            self._stop = head.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0])).remove

    def tensors(self, clip: ClipOutput) -> list[Tensor]:
        """Where to compare gradients: at what went into the class head; without one, at the outputs of the clip."""
        self._stop()
        heard, self._heard = self._heard, []
        live = {id(one): one for one in heard if one.requires_grad}
        return list(live.values()) or live_tensors(clip)

    @property
    def share(self) -> Tensor | None:
        """The norm of the loss's gradient over the sum of its norm and that of all else, at the tensors looked at.

        None before the first backward.
        """
        if self._weight is None:
            return None
        ours, others = self._ours.sqrt(), self._others.sqrt()
        return ours / (ours + others).clamp(min=1e-30)

    def observe(self, loss: Tensor, tensors: Sequence[Tensor]) -> bool:
        """Compare the gradient of ``loss`` at ``tensors`` with the one that the coming backward brings there.

        Returns:
            Whether the loss has a gradient there.
        """
        if not tensors:
            return False
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
        self._weight = None

        def begin(weight: Tensor) -> None:  # a backward reaches the loss before what it was computed from
            self._weight = weight.detach()
            self._ours = self._others = torch.zeros_like(weight)

        def compare(ours: Tensor | None, total: Tensor) -> None:
            if self._weight is None:  # a backward of other losses alone
                return
            ours = torch.zeros_like(total) if ours is None else self._weight * ours
            self._ours = self._ours + ours.square().sum()
            self._others = self._others + (total - ours).square().sum()

        loss.register_hook(begin)  # type: ignore[no-untyped-call]
        for tensor, ours in zip(tensors, gradients, strict=True):
            tensor.register_hook(partial(compare, ours))  # type: ignore[no-untyped-call]
        return any(ours is not None and bool(ours.any()) for ours in gradients)

    def check(self, output: UniTrackOutput, reached: bool) -> None:
        """Warn, once for each reason.

        Args:
            output: of a step.
            reached: whether its gradient reached the tracker.
        """
        total, edges, flow = torch.stack([output.total.detach(), output.num_edges, output.edge_flow]).tolist()
        if not math.isfinite(total):
            self._warn(f"the loss is {total}; boxes, logits and embeddings of the tracker must be finite")
        elif edges:
            self._without_flow = self._without_flow + 1 if flow < NO_FLOW else 0
            if not reached:
                self._warn("the loss has no gradient at the outputs of the tracker, so it teaches nothing")
            elif self._without_flow == PATIENCE:
                self._warn(
                    f"flow between detections of one object was below {NO_FLOW} in the last {PATIENCE} looks, so the "
                    "loss teaches nothing; a longer warm-up, a lower learning rate or a higher temperature tau may help"
                )

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            warnings.warn(f"unitrack: {sentence}", stacklevel=3)


def live_tensors(clip: ClipOutput) -> list[Tensor]:
    """The embeddings, from which boxes and logits come; without them those.

    Where a tracker cuts the slots of a frame out of a larger tensor, it is that one, which its own losses know.
    """
    for names in (("embeddings",), ("boxes_cxcywh", "logits", "assoc")):
        found = [getattr(frame, name) for frame in clip.frames for name in names]
        live = [one if one._base is None else one._base for one in found if one is not None and one.requires_grad]
        if live:
            return list({id(one): one for one in live}.values())
    return []
