"""A fake detector that gives a tracker with track queries the scores of a script."""

import torch

from _helpers.trackers.motr_clips import batch_of, images_of
from mot_core.nn import DetectorOutput
from mot_core.structures import FeaturePyramid

SLOTS = 8


class Script:
    """Fake detector with given scores per frame: object slots by index, tracks by identity, 0.1 for all others."""

    def __init__(self, tracker, *frames, classes=1, box=(0.5, 0.5, 0.4, 0.4)):
        self.frames, self.tracker, self.classes, self.box = list(frames), tracker, classes, box
        tracker.detect = self

    def __call__(self, images, padding, ctx, tracks=None):
        objects, known = self.frames.pop(0)
        ids = [] if tracks is None else tracks.ids[0].tolist()
        scores = [objects.get(slot, 0.1) for slot in range(SLOTS)] + [known.get(one, 0.1) for one in ids]
        slots = len(scores)
        logits = torch.full((2, 1, slots, self.classes), -9.0)
        logits[-1, 0, :, -1] = torch.tensor(scores).logit()
        boxes = torch.tensor(self.box).expand(2, 1, slots, 4)
        hidden = torch.tensor(scores)[:, None].expand(2, 1, slots, 32)
        return DetectorOutput(logits, boxes, hidden, [boxes[0]] * 2), FeaturePyramid((), ())

    def play(self, name="stream"):
        """Return the reported identities of every frame."""
        images = images_of(0, 1)
        count = len(self.frames)
        return [
            self.tracker.track(batch_of(images, name=name, first=number + 1)).ids.tolist() for number in range(count)
        ]
