"""Pairs of trackers and plug-ins, and assertions on the clips of every tracker that supports plug-ins."""

import torch

from _helpers.plugin_cases import PLUGINS, UNFIT
from _helpers.trackers.tracker_cases import TRACKERS
from mot_core.plugins.negotiation import groups
from mot_core.slots import slot_ids


def fits(tracker, plugin):
    """Whether a tracker has the capabilities that a plug-in needs."""
    return all(group & TRACKERS[tracker]().capabilities for group in groups(PLUGINS[plugin]()))


FITTING = [(name, plugin) for name in TRACKERS for plugin in PLUGINS if fits(name, plugin)]
PAIRS = [pair for pair in FITTING if pair not in UNFIT]
REFUSED = [(name, plugin) for name in TRACKERS for plugin in PLUGINS if (name, plugin) not in FITTING]


def check_clip(clip, capabilities):
    """Check the values of a clip; the classes check the shapes."""
    for frame in clip.frames:
        valid = frame.valid
        assert valid.any()
        boxes = frame.boxes_cxcywh[valid]
        assert boxes.isfinite().all()
        assert frame.logits[valid].isfinite().all()
        assert ((boxes >= 0) & (boxes <= 1)).all()
        assert (boxes[:, 2:] > 0).all()
        assert (frame.track_ids[~valid] == -1).all()
        assert (frame.gt_index[~valid] == -1).all()
        assert (frame.track_ids[~frame.is_track] == -1).all(), "only tracks carry an identity into the frame"
        if "embeddings" in capabilities:
            assert frame.embeddings[valid].isfinite().all()
    times = torch.stack([frame.time for frame in clip.frames])
    assert (times.diff(dim=0) > 0).all()
    for frame, targets in zip(clip.frames, clip.targets or [], strict=bool(clip.targets)):
        check_assignment(frame, targets)


def check_assignment(frame, targets):
    """Check that tracks keep their identity, and that there is one slot per identity and kind."""
    assert frame.gt_index.max() < targets.ids.shape[1]
    ids = slot_ids(frame, targets)
    carried = frame.is_track & (frame.track_ids >= 0) & (ids >= 0)
    assert torch.equal(ids[carried], frame.track_ids[carried])
    for clip in range(len(ids)):
        for kind in (True, False):
            found = ids[clip][(frame.is_track[clip] == kind) & (ids[clip] >= 0)].tolist()
            assert len(found) == len(set(found)), "an object has one slot of each kind in a frame"


def check_gradient(clip, capabilities, parameter):
    """Check that live outputs have a gradient to ``parameter`` (of the backbone) in every frame with gradient."""
    names = {"live_boxes": "boxes_cxcywh", "embeddings": "embeddings", "assoc": "assoc"}
    for frame in clip.frames:
        for capability in capabilities & names.keys():
            if frame.has_grad and getattr(frame, names[capability]) is not None:
                value = getattr(frame, names[capability])
                (gradient,) = torch.autograd.grad(value.square().sum(), parameter, retain_graph=True)
                assert gradient.abs().sum() > 0, f"{capability} does not reach the backbone"
