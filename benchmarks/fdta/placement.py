"""Depth attention at other places of a decoder layer than after the attention to the image (FDTA, table 9)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from torch import Tensor

from benchmarks.training.variants import Starts, measure
from mot_core.nn.detr.decoder import DeformableDecoderLayer

Place = Literal["before self-attention", "between the attentions"]
PLACES: dict[str, Place] = {
    "SA before self-attention": "before self-attention",
    "SA between the attentions": "between the attentions",
}


@contextmanager
def depth_attention(place: Place) -> Iterator[None]:
    """Call the hooks of all decoder layers in this process at another place."""
    forward = DeformableDecoderLayer.forward

    def moved(*arguments: Any, **named: Any) -> Tensor:
        call = signature(forward).bind(*arguments, **named)
        hook = call.arguments.pop("hook", None)
        if hook is None:
            return forward(*call.args, **call.kwargs)
        if place == "before self-attention":
            call.arguments["queries"] = hook(call.arguments["queries"])
            return forward(*call.args, **call.kwargs)
        norm = call.arguments["self"].self_attn_norm
        handle = norm.register_forward_hook(lambda module, inputs, output: hook(output))
        try:
            return forward(*call.args, **call.kwargs)
        finally:
            handle.remove()

    with mock.patch.object(DeformableDecoderLayer, "forward", moved):
        yield


def measure_placed(name: str, output: Path, videos: int, config: str, starts: Starts, **key: Any) -> dict[str, Any]:
    """Train and test a row of the table once, with the depth attention at the place that its name says."""
    place = PLACES.get(key["variant"])
    with nullcontext() if place is None else depth_attention(place):
        return measure(name, output, videos, config, starts, **key)
