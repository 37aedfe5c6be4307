"""SGLA learns to associate: it overfits a clip, and the relative boxes help in a crowd."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lamotr import SGLA, SGLASettings, association_loss, association_targets, match_tracklets, tiny, weighted_update


class Clip:
    """Rectangles that move over three frames; one leaves after the first frame and one appears in the second."""

    def __init__(self, rectangles=6, queries=14, frames=3):
        generator = torch.Generator().manual_seed(0)
        colors = torch.rand(rectangles, 3, generator=generator)
        start = torch.rand(rectangles, 2, generator=generator) * 0.6 + 0.2
        speed = torch.randn(rectangles, 2, generator=generator) * 0.05
        size = torch.rand(rectangles, 2, generator=generator) * 0.1 + 0.1
        self.frames = []
        for time in range(frames):
            present = torch.arange(rectangles)
            present = present[present != 0] if time else present[present != 1]
            order = torch.randperm(queries, generator=generator)
            match = torch.full((queries,), -1)
            match[: len(present)] = present
            boxes = torch.rand(queries, 4, generator=generator) * 0.3 + 0.2
            boxes[: len(present)] = torch.cat([start + time * speed, size], 1)[present]
            looks = torch.rand(queries, 3, generator=generator)
            looks[: len(present)] = colors[present]
            self.frames.append((torch.cat([looks, boxes], 1)[order], boxes[order], match[order]))


def test_overfits_a_clip():
    """Queries are carried from frame to frame by the update; the scores of true pairs exceed 0.5, others do not."""
    torch.manual_seed(0)
    clip, settings = Clip(), tiny().sgla
    encoder, sgla = nn.Linear(7, settings.embed_dim), SGLA(settings)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *sgla.parameters()], 2e-3)

    def run():
        query, boxes, owner, losses, right = torch.zeros(1, 0, 64), torch.zeros(1, 0, 4), torch.zeros(0).long(), [], []
        for time, (features, obj_boxes, match) in enumerate(clip.frames):
            output = sgla(encoder(features)[None], query, obj_boxes[None], boxes)
            target = association_targets(match, owner)
            if time:
                losses.append(association_loss(output.score_logits[0], target))
                scores = output.score_logits[0].sigmoid()
                found = match_tracklets(scores, torch.ones(len(match)).bool(), 0.5)
                wanted = torch.where(target.any(0), target.int().argmax(0), -1)
                right.append(bool((found == wanted).all()) and bool(((scores > 0.5) == target).all()))
            matched = torch.where(target.any(0), target.int().argmax(0), -1) if len(owner) else owner
            query = weighted_update(output.tck_embed, output.obj_embed, matched[None], 0.5)
            own = torch.where((matched >= 0)[:, None], obj_boxes[matched.clamp(min=0)], boxes[0])
            born = ((match >= 0) & ~target.any(1)).nonzero().squeeze(1)
            query = torch.cat([query, output.obj_embed[:, born]], 1)
            boxes, owner = torch.cat([own, obj_boxes[born]])[None], torch.cat([owner, match[born]])
        return torch.stack(losses).mean(), all(right)

    for _ in range(200):
        optimizer.zero_grad()
        loss, right = run()
        if loss < 0.005 and right:
            break
        loss.backward()
        optimizer.step()
    assert loss < 0.02
    assert right


def crowd(generator, batch=8, objects=40, tracklets=8, channels=32):
    """Similar objects with near-duplicate queries; tracklets see their own object displaced and with noise."""
    base = torch.randn(batch, 1, channels, generator=generator)
    looks = base + 0.35 * torch.randn(batch, objects, channels, generator=generator)
    boxes = torch.rand(batch, objects, 4, generator=generator) * torch.tensor([1, 1, 0.1, 0.1]) + 0.05
    # The second half of the queries duplicates the first, nearby.
    half = objects // 2
    looks[:, half:] = looks[:, :half] + 0.2 * torch.randn(batch, half, channels, generator=generator)
    boxes[:, half:] = boxes[:, :half] + 0.02 * torch.randn(batch, half, 4, generator=generator)
    own = looks[:, :tracklets] + 0.35 * torch.randn(batch, tracklets, channels, generator=generator)
    near = boxes[:, :tracklets] + 0.005 * torch.randn(batch, tracklets, 4, generator=generator)
    target = torch.eye(objects, tracklets).bool().expand(batch, -1, -1)
    return (looks, own, boxes, near), target


def f1(sgla, seed):
    generator = torch.Generator().manual_seed(seed)
    given, target = crowd(generator, batch=64)
    with torch.no_grad():
        found = sgla(*given).score_logits > 0
    return (2 * (found & target).sum() / (found.sum() + target.sum()).clamp(min=1)).item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_relative_boxes_help_in_a_crowd(seed):
    scores = {}
    for cue in (True, False):
        torch.manual_seed(seed)
        settings = SGLASettings(embed_dim=32, num_heads=4, num_layers=2, ffn_dim=64)
        sgla = SGLA(replace(settings, cue=cue))
        optimizer = torch.optim.AdamW(sgla.parameters(), 2e-3)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(300):
            given, target = crowd(generator)
            optimizer.zero_grad()
            association_loss(sgla(*given).score_logits, target).backward()
            optimizer.step()
        scores[cue] = f1(sgla, 1000 + seed)
    assert scores[True] > scores[False] + 0.05, scores
    assert scores[True] > 0.7, scores
