"""Distillation into a tracker that associates all boxes of a clip with each other, such as GTR."""

import math

import pytest
import torch
from torch import nn

from _helpers.em_kalman_scenes import make_distance_model
from _helpers.em_kalman_windows import make_window
from em_kalman import NeuralKalmanFilter, WindowBatch, distill_clip_loss

F64 = torch.float64
LOOK = 12


def clip(seed, objects=8, frames=4):
    """Return a window of people walking straight, shuffled and 5% missing, with appearance features and identities.

    What is seen of a person is their look, and as many numbers that change from frame to frame.
    """
    rng = torch.Generator().manual_seed(seed)
    place, step = torch.rand(objects, 2, generator=rng) * 1000, 4 * torch.randn(objects, 2, generator=rng)
    appearance = torch.randn(objects, LOOK, generator=rng)
    boxes, valid = torch.zeros(1, frames, objects, 4), torch.zeros(1, frames, objects, dtype=torch.bool)
    seen, names = torch.zeros(1, frames, objects, 2 * LOOK), torch.full((1, frames, objects), -1)
    for frame in range(frames):
        who = torch.randperm(objects, generator=rng)
        who = who[torch.rand(objects, generator=rng) > 0.05]
        corner = place[who] + frame * step[who]
        rows = slice(len(who))
        boxes[0, frame, rows] = torch.cat([corner, corner + torch.tensor([40.0, 100.0])], 1)
        other = torch.randn(len(who), LOOK, generator=rng)
        seen[0, frame, rows] = torch.cat([appearance[who] + 0.2 * torch.randn(len(who), LOOK, generator=rng), other], 1)
        valid[0, frame, rows], names[0, frame, rows] = True, who
    size, numbers = torch.tensor([[1080, 1920]]), torch.arange(frames)[None]
    return WindowBatch(boxes, valid, size, numbers, embeddings=seen, gt_ids=names)


class Head(nn.Module):
    """Last layer of GTR, with queries and keys of all boxes."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(2 * LOOK, 16), nn.Linear(2 * LOOK, 16)

    def forward(self, seen):
        return self.query(seen) @ self.key(seen).T


def right(head, batch):
    """Return the share of correct assignments of boxes to other frames, including "nowhere"."""
    valid = batch.valid[0]
    logits = head(batch.embeddings[0][valid])
    names, frame = batch.gt_ids[0][valid], valid.nonzero()[:, 0]
    hits = []
    for time in range(valid.shape[0]):
        inside = frame == time
        scores = torch.cat([logits[:, inside], torch.zeros(len(logits), 1)], 1)
        chosen = torch.cat([names[inside], torch.tensor([-1])])[scores.argmax(1)]
        wanted = torch.where((names[:, None] == names[inside]).any(1), names, -1)
        hits.append((chosen == wanted)[~inside])
    return torch.cat(hits).float().mean().item()


def test_head_learns_associations_from_motion():
    """Boxes are far apart, so motion is informative; test people are new. 12% by chance, 95% after training."""
    torch.manual_seed(0)
    teacher, head = make_distance_model(-20.0), Head()
    test = [clip(seed) for seed in range(1000, 1005)]
    before = sum(right(head, batch) for batch in test) / len(test)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for seed in range(250):
        batch = clip(seed)
        optimizer.zero_grad()
        distill_clip_loss(head(batch.embeddings[0][batch.valid[0]]), teacher(batch), batch.valid).backward()
        optimizer.step()
    after = sum(right(head, batch) for batch in test) / len(test)
    assert before < 0.3
    assert after > 0.85


def by_hand(logits, adjacent, frame, size):
    """Compare with the divergence of every box and other frame in loops."""
    count, found = len(logits), []
    for i in range(count):
        for time in sorted(set(frame)):
            if time == frame[i]:
                continue
            inside = [j for j in range(count) if frame[j] == time]
            low, high = sorted((time, frame[i]))
            chain = torch.eye(size, dtype=F64)
            for step in range(low, high):
                chain = chain @ adjacent[step]
            place = [sum(frame[k] == frame[j] for k in range(j)) for j in range(count)]
            shares = [
                (chain[place[i], place[j]] if frame[i] < time else chain[place[j], place[i]]).item() for j in inside
            ]
            scores = [logits[i, j].item() for j in inside] + [0.0]
            shares.append(max(0.0, 1 - sum(shares)))
            total = math.log(sum(math.exp(score) for score in scores))
            found.append(sum(p * (math.log(p) - q + total) for p, q in zip(shares, scores, strict=True) if p > 0))
    return sum(found) / len(found)


def test_loss_equals_a_loop():
    torch.manual_seed(0)
    batch = make_window(frames=4, objects=3, batch=1)
    valid = batch.valid.clone()
    valid[0, 1, 2] = valid[0, 3, 1:] = False
    batch = WindowBatch(batch.boxes_xyxy, valid, batch.image_size, batch.frames)
    output = NeuralKalmanFilter().double()(batch)
    count = int(valid.sum())
    logits = torch.randn(count, count, dtype=F64, requires_grad=True)
    found = distill_clip_loss(logits, output, valid)
    adjacent = output.log_plan[0, :, :3, :3].detach().exp()
    wanted = by_hand(logits.detach(), adjacent, valid[0].nonzero()[:, 0].tolist(), 3)
    assert found.item() == pytest.approx(wanted, rel=1e-9)
    found.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[:3, :3].abs().sum() == 0  # of one frame


def test_empty_frames_and_invalid_arguments():
    batch = make_window(frames=3, objects=2, batch=1)
    valid = batch.valid.clone()
    valid[0, 1] = False
    batch = WindowBatch(batch.boxes_xyxy, valid, batch.image_size, batch.frames)
    output = NeuralKalmanFilter().double()(batch)
    # The chain ends at an empty frame, so "nowhere" is correct.
    assert distill_clip_loss(torch.full((4, 4), -50.0), output, valid).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"student_logits must have shape \(4, 4\), .* got \(6, 6\)"):
        distill_clip_loss(torch.zeros(6, 6), output, valid)
    with pytest.raises(ValueError, match="valid: expected one window, got 2"):
        distill_clip_loss(torch.zeros(6, 6), output, valid.expand(2, -1, -1))
