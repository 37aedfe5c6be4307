"""Objects for plug-in tests without a tracker: a loss given as a function, a record, a frame and tracks."""

from dataclasses import replace

import torch

from mot_core.plugins import CAPABILITIES, Plugin, Plugins
from mot_core.structures import FrameOutput, TrackerSpec, TrackState


class Loss(Plugin):
    """Plug-in with a loss given as a function of the clip."""

    name = "some_loss"

    def __init__(self, compute=lambda clip: clip.frames[0].boxes_cxcywh.sum(), **options):
        super().__init__(**options)
        self.compute = compute

    def on_clip_loss(self, clip, ctx):
        return {"value": self.compute(clip)}


class Record(Plugin):
    """Store the tracks of every frame, as they are decoded in the next one."""

    name = "record"

    def __init__(self):
        super().__init__()
        self.states = []

    def on_tracks_update(self, frame, tracks, ctx):
        self.states.append(tracks)
        return tracks


def frame(slots=3, **changes):
    boxes = torch.rand(1, slots, 4, requires_grad=True)
    valid = torch.ones(1, slots, dtype=torch.bool)
    output = FrameOutput(boxes, torch.zeros(1, slots, 1), valid, torch.ones(1, 2), torch.tensor([1]))
    return replace(output, **changes)


def tracks(count=2):
    ids = torch.arange(count)[None]
    return TrackState(ids, ids >= 0)


def plugins_of(*plugins, spec=None):
    made = Plugins(*plugins)
    made.setup(spec or TrackerSpec("mine", frozenset(CAPABILITIES)))
    return made
