"""Plug-in on an unmodified model outside mot-core, attached by Tap."""

import pytest
import torch
from torch import nn

from mot_core.structures import ClipOutput, FrameOutput, FrameTargets, TrackerSpec
from mot_core.tap import Tap
from unitrack_loss import UniTrackPlugin


class TheirModel(nn.Module):
    """Returns boxes; embeddings are internal."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.transformer, self.boxes, self.scores = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, images):
        hidden = self.transformer(images)
        return {"pred_boxes": self.boxes(hidden).sigmoid(), "pred_logits": self.scores(hidden)}


class TheirCriterion(nn.Module):
    weight_dict = {"loss_bbox": 5.0}  # noqa: RUF012 - as in the original

    def forward(self, outputs, targets):
        return {"loss_bbox": (outputs["pred_boxes"][:, :2] - targets["boxes"]).abs().mean()}


def their_training(plugin, steps, detach=False):
    """Return the weights after some steps of the model's own loop, and the logs."""
    model, criterion = TheirModel(), TheirCriterion()
    logged = {}
    tap = Tap(model, TrackerSpec("theirs", frozenset({"ids", "embeddings"})), plugin, log=logged.__setitem__)
    tap.output("transformer")
    random = torch.Generator().manual_seed(1)
    images, boxes = torch.randn(4, 5, 6, generator=random), torch.rand(4, 2, 4, generator=random)
    ids = torch.tensor([[3, 8]])

    def clip(outputs, targets):
        (hidden,) = tap.captured["transformer"]
        hidden = hidden.detach() if detach else hidden
        frames = [
            FrameOutput(
                outputs["pred_boxes"][t : t + 1].detach(),
                outputs["pred_logits"][t : t + 1],
                torch.ones(1, 5, dtype=torch.bool),
                torch.tensor([[480, 640]]),
                torch.tensor([t]),
                gt_index=torch.tensor([[0, 1, -1, -1, -1]]),
                embeddings=hidden[t : t + 1],
            )
            for t in range(4)
        ]
        return ClipOutput(frames, [FrameTargets(boxes[t : t + 1], ids * 0, ids, ids > 0) for t in range(4)])

    tap.loss(criterion, clip)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    history = []
    with tap:
        for _ in range(steps):
            losses = criterion(model(images), {"boxes": boxes})
            optimizer.zero_grad()
            sum(losses[key] * criterion.weight_dict[key] for key in losses if key in criterion.weight_dict).backward()
            optimizer.step()
            history.append(dict(logged))
    return model.state_dict(), history


def test_foreign_trackers_are_trained():
    _, history = their_training(UniTrackPlugin(weight=0.5, warmup_steps=0, min_score=0.0, report_every=1), steps=60)
    assert history[-1]["unitrack/loss"] < 0.8 * history[0]["unitrack/loss"]
    # Frames are views of one tensor, which the model's own loss uses too.
    assert 0 < history[1]["unitrack/gradient_share"] < 1


def test_zero_weight_is_bitwise_neutral():
    plain, _ = their_training(UniTrackPlugin(weight=0.0), steps=3)
    other, _ = their_training(UniTrackPlugin(weight=0.0, window=3, report_every=1), steps=3)
    trained, _ = their_training(UniTrackPlugin(weight=0.5, warmup_steps=0), steps=3)
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert not torch.equal(plain["transformer.weight"], trained["transformer.weight"])


def test_detached_embeddings_are_rejected():
    """A defect of the published integrations, such as GTR: the loss has no gradient."""
    with pytest.raises(ValueError, match=r"plug-in 'unitrack' got .* without gradient in training, so its loss would"):
        their_training(UniTrackPlugin(), steps=1, detach=True)
