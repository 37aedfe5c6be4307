"""The recipes of docs/recipes/lamotr.md on objects with the fields and layouts of other projects."""

import pytest
import torch
from torch import nn

from _helpers.recipes import recipes_of
from _helpers.trackers.original_layouts import Instances
from lamotr import SGLA, SGLASettings, association_loss, association_targets
from mot_core.nn import MLP, inverse_sigmoid, refine_boxes

RECIPES, LINES = recipes_of("lamotr.md")
QUERIES, CHANNELS = 6, 16


@pytest.fixture
def sgla():
    torch.manual_seed(0)
    return SGLA(SGLASettings(CHANNELS, 2, 2, 16))


def objects(count, seed=1):
    """Return embeddings, boxes apart from each other and logits of ``count`` slots."""
    random = torch.Generator().manual_seed(seed)
    center = torch.stack([torch.linspace(0.1, 0.9, count), torch.full((count,), 0.5)], 1)
    embeds = torch.randn(count, CHANNELS, generator=random).requires_grad_()
    return embeds, torch.cat([center, torch.full((count, 2), 0.08)], 1), torch.zeros(count, 1)


def check(sgla, embeds, loss, expected):
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert embeds.grad.any()
    assert all(one.grad.any() for one in sgla.head.parameters())


@pytest.mark.parametrize("name", ["motr", "memotr", "trackformer", "detections"])
def test_recipes_are_short(name):
    assert len(LINES[f"associate_{name}"]) < 15


def test_motr(sgla):
    embeds, boxes, logits = objects(QUERIES + 3)
    boxes = torch.cat([boxes[:QUERIES], boxes[:3] + 0.01])
    tracks = Instances(output_embedding=embeds, pred_boxes=boxes, pred_logits=logits,
                       obj_idxes=torch.tensor([-1] * QUERIES + [9, 5, -1]))  # fmt: skip
    # The released loader has identities as floats.
    truth = Instances(boxes=boxes[[0, 4]], labels=torch.zeros(2).long(), obj_ids=torch.tensor([9.0, 7.0]).double())
    output, obj_match, loss = RECIPES["associate_motr"](sgla, tracks, truth, QUERIES)
    assert obj_match.tolist() == [0, -1, -1, -1, 1, -1]
    target = torch.zeros(1, QUERIES, 3).bool()
    target[0, 0, 0] = True
    check(sgla, embeds, loss, association_loss(output.score_logits, target))


def test_memotr(sgla):
    """The first boxes of SGLA are the predictions, and padded tracks do not count."""
    embeds, anchors, logits = objects(QUERIES + 3)
    head = MLP(CHANNELS, CHANNELS, 4, 3)
    boxes = refine_boxes(head(embeds), anchors)[None]
    mask = torch.zeros(1, QUERIES + 3).bool()
    mask[0, -1] = True
    res = {"outputs": embeds[None], "last_ref_pts": inverse_sigmoid(anchors)[None], "query_mask": mask,
           "pred_logits": logits[None], "pred_bboxes": boxes}  # fmt: skip
    truth = {"boxes": boxes[:, [2, 4, 0]].detach(), "labels": torch.zeros(1, 3).long(),
             "ids": torch.tensor([[7, 3, -1]]), "valid": torch.tensor([[True, True, False]])}  # fmt: skip
    ids = torch.tensor([[3, 8, -1]])
    output, obj_match, loss = RECIPES["associate_memotr"](sgla, res, ids, truth, head, QUERIES)
    torch.testing.assert_close(output.boxes[0][:, :-1], boxes[:, :-1])
    assert obj_match.tolist() == [[-1, -1, 0, -1, 1, -1]]
    target = association_targets(obj_match, torch.tensor([[1, -1, -1]]))
    check(sgla, embeds, loss, association_loss(output.score_logits[..., :2], target[..., :2]))


def test_trackformer(sgla):
    """Tracks come first; the second of three is a false positive."""
    embeds, boxes, _ = objects(QUERIES + 3)
    boxes = torch.cat([boxes[:3] + 0.01, boxes[:QUERIES]])
    out = {"hs_embed": embeds[None], "pred_boxes": boxes[None], "pred_logits": torch.zeros(1, QUERIES + 3, 20)}
    false = torch.zeros(QUERIES + 3).bool()
    false[1] = True
    truth = {"boxes": boxes[[3, 5]], "labels": torch.zeros(2).long(), "track_queries_fal_pos_mask": false,
             "track_query_match_ids": torch.tensor([1, 0])}  # fmt: skip
    output, (obj_match,), loss = RECIPES["associate_trackformer"](sgla, out, [truth], QUERIES)
    assert obj_match.tolist() == [0, -1, 1, -1, -1, -1]
    target = torch.zeros(QUERIES, 3).bool()
    target[2, 0] = target[0, 2] = True
    check(sgla, embeds, loss, association_loss(output.score_logits[0], target))


def test_detectors(sgla):
    """A linear adapter learns with the association; the cost of tracking has tracks as rows."""
    adapter = nn.Linear(5, CHANNELS)
    embeds = torch.randn(4, 5).requires_grad_()
    now = {"embeds": embeds, "boxes": torch.rand(4, 4), "ids": torch.tensor([4, -1, 2, 8])}
    before = {"embeds": torch.randn(3, 5), "boxes": torch.rand(3, 4), "ids": torch.tensor([2, -1, 4])}
    output, loss = RECIPES["associate_detections"](sgla, adapter, now, before)
    target = torch.zeros(4, 2).bool()
    target[0, 1] = target[2, 0] = True
    check(sgla, embeds, loss, association_loss(output.score_logits[0], target))
    assert adapter.weight.grad.any()
    tracks = {name: value[[0, 2]] for name, value in before.items()}
    cost = RECIPES["association_cost"](sgla, adapter, now, tracks)
    torch.testing.assert_close(cost, 1 - output.score_logits[0].sigmoid().T)
