"""Attach the adapters to third-party trackers through :class:`mot_core.tap.Tap`.

These functions connect the tensors of a tracker to the plug-ins of a Tap; the recipes in the documentation show the
lines for some trackers. Without the plug-in concerned, each returns its input.

In training, the spatial adapter needs depth maps: set the attribute ``call_targets`` of the model to the result of
:func:`depth_targets` before each call of the detector with gradient, and to None before others; or, if the tracker
calls its detector in a loop of its own, to a list of the targets of all calls of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fdta_adapters.functional.foreground import pad_boxes
from mot_core.plugins import Context
from mot_core.plugins.runner import in_backward
from mot_core.structures import ClipOutput, FeaturePyramid, FrameOutput, FrameTargets, TrackerSpec, TrackState
from mot_core.tap import Tap


def _first_three(*args: Any, **kwargs: Any) -> Any:
    """Feature maps, masks and positions are the first arguments in the original Deformable DETR."""
    return args[:3]


def deformable_spec(name: str, channels: int, decoder_layers: int, *capabilities: str) -> TrackerSpec:
    """Describe a tracker on Deformable DETR with feature maps at strides 8, 16, 32 and 64.

    Args:
        name: Name of the tracker, for messages.
        channels: Channels of feature maps and queries.
        decoder_layers: Number of decoder layers.
        capabilities: Capabilities besides features and decoder layers.

    >>> deformable_spec("motip", 256, 6, "history").feature_channels
    (256, 256, 256, 256)
    """
    known = frozenset({"features", "decoder_layer", "embeddings", *capabilities})
    return TrackerSpec(name, known, 1, channels, (channels,) * 4, (8, 16, 32, 64), decoder_layers)


def attend_depth(
    tap: Tap, transformer: nn.Module, norms: Iterable[nn.Module], read: Callable[..., Any] = _first_three
) -> None:
    """Let the queries of a DETR decoder attend to the depth of the spatial adapter.

    Args:
        tap: Tap on the tracker.
        transformer: Module that receives the feature maps before the decoder runs.
        norms: In each decoder layer, the module whose output ``(B, N, C)`` is between the visual cross-attention and
            the feed-forward: the norm that ends the cross-attention.
        read: Called with the arguments of the transformer; returns its feature maps ``(B, C, h, w)``, padding masks
            ``(B, h, w)`` and position encodings ``(B, C, h, w)`` or None, each a sequence of levels. By default, these
            are the first three arguments.

    >>> from fdta_adapters import SpatialAdapterPlugin
    >>> class Transformer(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.norm1 = nn.LayerNorm(8)
    ...     def forward(self, srcs, masks, pos_embeds):
    ...         return self.norm1(torch.ones(1, 5, 8))
    >>> model = Transformer().eval()
    >>> adapter = SpatialAdapterPlugin(residual="gated", num_heads=2)
    >>> levels = [torch.rand(1, 8, size, size) for size in (8, 4, 2)]
    >>> masks = [torch.zeros(1, size, size).bool() for size in (8, 4, 2)]
    >>> with Tap(model, deformable_spec("theirs", 8, 1), adapter) as tap:
    ...     attend_depth(tap, model, [model.norm1])
    ...     model(levels, masks, levels).shape
    torch.Size([1, 5, 8])
    """
    here: list[Context] = []

    def features(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        levels, masks, positions = read(*args, **kwargs)
        if not in_backward():  # a recomputation belongs to the clip of its call, which may have ended
            here[:] = [_next_call(tap)]
        pyramid = FeaturePyramid(tuple(levels), tuple(masks), None if positions is None else tuple(positions))
        tap.plugins.on_features(pyramid, here[0])
        return forward(*args, **kwargs)

    def attend(layer: int) -> Callable[..., Tensor]:
        return lambda forward, hidden: tap.plugins.on_decoder_layer(layer, forward(hidden), here[0])

    tap.replace(transformer, "forward", features)
    for layer, norm in enumerate(norms):
        tap.replace(norm, "forward", attend(layer))


def gate_pyramid(tap: Tap, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Let the cells of a feature pyramid attend to the depth, for detectors without a decoder.

    The plug-in treats each level as a decoder layer, whose queries are the cells. With ``residual="gated"``, the
    pyramid is unchanged at first. ``encoder_stride`` reduces the cost, which is cells times depth cells.

    Args:
        tap: Tap on the detector, whose specification has as many decoder layers as levels.
        levels: Feature maps ``(B, C, h_l, w_l)``, fine to coarse, without padding.

    >>> from fdta_adapters import SpatialAdapterPlugin
    >>> spec = TrackerSpec("dense", frozenset({"features", "decoder_layer"}), 1, 8, (8, 8), (8, 16), decoder_layers=2)
    >>> tap = Tap(nn.Identity().eval(), spec, SpatialAdapterPlugin(residual="gated", num_heads=2))
    >>> levels = torch.rand(1, 8, 4, 6), torch.rand(1, 8, 2, 3)
    >>> [torch.equal(a, b) for a, b in zip(gate_pyramid(tap, levels), levels)]
    [True, True]
    """
    here = _next_call(tap)
    masks = tuple(level.new_zeros(level[:, 0].shape, dtype=torch.bool) for level in levels)
    tap.plugins.on_features(FeaturePyramid(tuple(levels), masks), here)
    gated = []
    for number, level in enumerate(levels):
        cells = tap.plugins.on_decoder_layer(number, level.flatten(2).transpose(1, 2), here)
        gated.append(cells.transpose(1, 2).reshape(level.shape))
    return tuple(gated)


def refine_histories(tap: Tap, histories: Tensor, missing: Tensor) -> Tensor:
    """Refine the histories of tracks by the temporal adapter, for trackers with a window of history.

    Args:
        tap: Tap on the tracker.
        histories: Embeddings of shape ``(B, M, T, C)`` in order of time.
        missing: Boolean mask of shape ``(B, M, T)``, True where the track was not seen.

    >>> from fdta_adapters import TemporalAdapterPlugin
    >>> adapter = TemporalAdapterPlugin(layers=1, num_heads=2, residual="gated")
    >>> tap = Tap(nn.Identity().eval(), deformable_spec("motip", 8, 6, "history"), adapter)
    >>> histories, missing = torch.rand(1, 3, 5, 8), torch.zeros(1, 3, 5).bool()
    >>> torch.equal(refine_histories(tap, histories, missing), histories)
    True
    """
    ids = torch.zeros_like(missing[..., 0], dtype=torch.int64)
    state = TrackState(ids, ids == 0, history=histories, history_valid=~missing)
    call = _counted(tap, "histories")
    refined = tap.plugins.on_tracks_update(None, state, tap.context.at(call)).history
    return histories if refined is None else refined


def refine_tracks(tap: Tap, ids: Tensor, embeddings: Tensor, present: Tensor) -> Tensor:
    """Refine the embeddings of tracks by their past, for trackers with track queries.

    Call it once per frame, where the next queries are formed. The temporal adapter stores the embeddings by identity;
    new tracks stay as they are. ``tap.reset()`` forgets all tracks, before another video.

    Args:
        tap: Tap on the tracker.
        ids: Identities of shape ``(N,)``, int64, after matching; -1 for slots without a track.
        embeddings: Output embeddings of shape ``(N, C)``.
        present: Boolean mask of shape ``(N,)``, False where the object of a track was not seen in this frame.

    Returns:
        Embeddings of shape ``(N, C)``.

    >>> from fdta_adapters import TemporalAdapterPlugin
    >>> adapter = TemporalAdapterPlugin(layers=1, num_heads=2)
    >>> tap = Tap(nn.Identity().eval(), deformable_spec("motr", 8, 6, "track_queries"), adapter)
    >>> ids, seen = torch.tensor([4, -1]), torch.tensor([True, False])
    >>> for frame in range(2):
    ...     embeddings = torch.rand(2, 8)
    ...     print((refine_tracks(tap, ids, embeddings, seen) == embeddings).all(1))
    tensor([True, True])
    tensor([False,  True])
    """
    known: dict[str, Tensor] = tap.context.store.setdefault("foreign_tracks", {})
    carried = (ids >= 0) & torch.isin(ids, known.get("ids", ids[:0]))
    number = _counted(tap, "tracks")
    here = tap.context.at(number)
    frame = FrameOutput(
        embeddings.new_zeros(1, len(ids), 4),
        embeddings.new_zeros(1, len(ids), 1),
        torch.ones_like(carried)[None],
        ids.new_ones(1, 2),
        ids.new_full((1,), number),
        is_track=carried[None],
        track_ids=ids[None],
        gt_index=torch.where(present, 0, -1)[None],
        embeddings=embeddings[None],
    )
    refined = tap.plugins.on_embeddings(frame, here).embeddings
    tracks = TrackState(ids[None], (ids >= 0)[None], misses=(~present).long()[None], embeddings=embeddings[None])
    tap.plugins.on_tracks_update(frame, tracks, here)
    known["ids"] = ids[ids >= 0]
    return embeddings if refined is None else refined[0]


def flat_pyramid(
    inputs_embeds: Tensor, attention_mask: Tensor, spatial_shapes_list: Sequence[tuple[int, int]], **others: Any
) -> tuple[list[Tensor], list[Tensor], None]:
    """Read feature maps and masks from the arguments of an encoder of Hugging Face, for :func:`attend_depth`.

    Args:
        inputs_embeds: Cells of all levels, of shape ``(B, S, C)``.
        attention_mask: Boolean mask of shape ``(B, S)``, False where padded.
        spatial_shapes_list: Height and width of each level.
        others: Other arguments, ignored.

    >>> levels, masks, _ = flat_pyramid(torch.rand(2, 20, 8), torch.ones(2, 20).bool(), [(4, 4), (2, 2)])
    >>> levels[0].shape, masks[1].any().item()
    (torch.Size([2, 8, 4, 4]), False)
    """
    sizes = [height * width for height, width in spatial_shapes_list]
    levels, masks, start = [], [], 0
    for (height, width), size in zip(spatial_shapes_list, sizes, strict=True):
        cells = inputs_embeds[:, start : start + size].transpose(1, 2)
        seen = attention_mask[:, start : start + size].bool()
        levels.append(cells.reshape(*cells.shape[:2], height, width))
        masks.append(~seen.reshape(len(seen), height, width))
        start += size
    return levels, masks, None


def matched_frame(
    embeddings: Tensor, boxes: Tensor, objects: Tensor, ids: Tensor, time: int = 0
) -> tuple[FrameOutput, FrameTargets]:
    """Return output and targets of a frame from its matched predictions, for :meth:`mot_core.tap.Tap.loss`.

    Args:
        embeddings: Embeddings of shape ``(n, C)``, one per object.
        boxes: Predicted boxes of shape ``(n, 4)``, center and size in [0, 1].
        objects: Boxes of the objects, of shape ``(n, 4)``.
        ids: Identities of the objects, of shape ``(n,)``, int64; different in different videos.
        time: Number of the frame.

    >>> box, ids = torch.rand(2, 4), torch.tensor([4, 7])
    >>> frames = [matched_frame(torch.rand(2, 8), box, box, ids, time) for time in range(3)]
    >>> clip = ClipOutput(*zip(*frames))
    >>> len(clip.frames), clip.targets[0].ids
    (3, tensor([[4, 7]]))
    """
    there = torch.ones_like(ids, dtype=torch.bool)[None]
    frame = FrameOutput(
        boxes[None],
        boxes.new_zeros(1, len(boxes), 1),
        there,
        ids.new_ones(1, 2),
        ids.new_full((1,), time),
        gt_index=torch.arange(len(ids), device=ids.device)[None],
        embeddings=embeddings[None],
        has_grad=embeddings.requires_grad,
    )
    return frame, FrameTargets(objects[None], torch.zeros_like(ids)[None], ids[None], there)


def detr_clip(
    embeddings: Tensor,
    boxes: Tensor,
    objects: Sequence[Tensor],
    ids: Sequence[Tensor],
    indices: Sequence[tuple[Tensor, Tensor]],
) -> ClipOutput:
    """Build a clip from the outputs of a DETR and the result of its Hungarian matcher; see :func:`matched_frame`.

    Args:
        embeddings: Last hidden states of the queries of all frames, of shape ``(T, N, C)``.
        boxes: Predicted boxes of shape ``(T, N, 4)``.
        objects: Boxes of the objects of each frame, of shape ``(n, 4)``.
        ids: Identities of the objects of each frame, of shape ``(n,)``.
        indices: Matched queries and objects of each frame, each of shape ``(k,)``.

    >>> objects, ids = [torch.rand(2, 4)] * 3, [torch.tensor([4, 7])] * 3
    >>> indices = [(torch.tensor([5, 1]), torch.tensor([0, 1]))] * 3
    >>> clip = detr_clip(torch.rand(3, 6, 8), torch.rand(3, 6, 4), objects, ids, indices)
    >>> clip.frames[2].embeddings.shape
    torch.Size([1, 2, 8])
    """
    frames = []
    for time, (target, name, pair) in enumerate(zip(objects, ids, indices, strict=True)):
        slot, row = (one.to(boxes.device) for one in pair)
        frames.append(matched_frame(embeddings[time, slot], boxes[time, slot], target[row], name[row], time))
    return ClipOutput([frame for frame, _ in frames], [truth for _, truth in frames])


def matched_motr_frame(tracks: Any, criterion: Any) -> tuple[FrameOutput, FrameTargets]:
    """Return output and targets of a frame from MOTR's instances after matching; see :func:`matched_frame`.

    Args:
        tracks: Instances with ``output_embedding``, ``pred_boxes``, ``obj_idxes`` and ``matched_gt_idxes``, which
            ``match_for_single_frame`` returned.
        criterion: MOTR's ``ClipMatcher``, which counts the frames that it has matched.

    >>> from types import SimpleNamespace as Instances
    >>> tracks = Instances(output_embedding=torch.rand(3, 8), pred_boxes=torch.rand(3, 4),
    ...                    obj_idxes=torch.tensor([-1, 7, 4]), matched_gt_idxes=torch.tensor([-1, 0, -1]))
    >>> criterion = Instances(gt_instances=[Instances(boxes=torch.rand(1, 4))], _current_frame_idx=1)
    >>> matched_motr_frame(tracks, criterion)[1].ids
    tensor([[7]])
    """
    time = criterion._current_frame_idx - 1
    seen = (tracks.matched_gt_idxes >= 0) & (tracks.obj_idxes >= 0)
    boxes = criterion.gt_instances[time].boxes[tracks.matched_gt_idxes[seen]]
    return matched_frame(tracks.output_embedding[seen], tracks.pred_boxes[seen], boxes, tracks.obj_idxes[seen], time)


def best_cells(foreground: Tensor, overlap: Tensor, matched: Tensor) -> tuple[Tensor, Tensor]:
    """Return the assigned cell of largest overlap of each object, for dense detectors, which assign several.

    Args:
        foreground: Boolean mask of shape ``(A,)``, True for the ``F`` assigned cells.
        overlap: IoU of their boxes with their objects, of shape ``(F,)``.
        matched: Rows of their objects, of shape ``(F,)``.

    Returns:
        Cells ``(n,)`` and objects ``(n,)``, both int64; objects without a cell are missing.

    >>> best_cells(torch.tensor([True, False, True, True]), torch.tensor([0.6, 0.9, 0.7]), torch.tensor([0, 0, 2]))
    (tensor([2, 3]), tensor([0, 2]))
    """
    order = overlap.argsort(descending=True, stable=True)
    order = order[matched[order].argsort(stable=True)]  # by object, largest overlap first
    objects = matched[order]
    first = torch.ones_like(objects, dtype=torch.bool)
    first[1:] = objects[1:] != objects[:-1]
    return foreground.nonzero().squeeze(1)[order[first]], objects[first]


def depth_targets(depth: Tensor, objects: Sequence[Tensor]) -> FrameTargets:
    """Return the targets that the spatial adapter needs for the images of one call of the detector.

    Args:
        depth: Depth maps of shape ``(B, 1, H, W)``, augmented like the images; NaN where unknown.
        objects: Boxes of the objects of each image, center and size in [0, 1], of shape ``(n, 4)``.

    >>> depth_targets(torch.rand(2, 1, 8, 8), [torch.rand(3, 4), torch.rand(1, 4)]).valid
    tensor([[ True,  True,  True],
            [ True, False, False]])
    """
    boxes, valid = pad_boxes(objects)
    labels = torch.where(valid, 0, -1)
    return FrameTargets(boxes, labels, labels, valid, {"depth": depth})


def _next_call(tap: Tap) -> Context:
    """Return the context of the next call of the detector."""
    number = _counted(tap, "calls")
    targets: Any = getattr(tap.model, "call_targets", None)
    if isinstance(targets, (list, tuple)):
        if number >= len(targets):
            raise ValueError(
                f"call_targets: expected targets for call {number + 1} of the clip, got {len(targets)}; give one per "
                "call, and call tap.reset() if a clip was interrupted"
            )
        targets = targets[number]
    return tap.context.at(number, targets, has_grad=torch.is_grad_enabled())


def _counted(tap: Tap, what: str) -> int:
    """Return the number of a call in the current clip; a recomputation in backward gets that of the last call."""
    calls: dict[str, int] = tap.context.store.setdefault("foreign_calls", {})
    if in_backward():
        return calls.get(what, 0)
    calls[what] = calls.get(what, -1) + 1
    return calls[what]
