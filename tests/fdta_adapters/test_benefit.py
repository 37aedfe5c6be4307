"""Small problems that only the adapter can solve: appearance, depth and history as the only cue."""

import pytest
import torch
from torch import nn

from fdta_adapters import DepthBins, IdentityAdapter, SpatialAdapter, TemporalAdapter, inter_object_similarity


def fit(parameters, loss, steps, lr=5e-3):
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def test_identity_adapter_separates_similar_objects():
    """Embeddings share a large common part; identity is a weak signal among noise."""
    torch.manual_seed(0)
    objects, frames, width = 6, 8, 16
    signal, common = torch.randn(objects, width), 4 * torch.randn(width)

    def observe():
        noise = torch.randn(frames, objects, width)
        return (common + 0.7 * signal + noise).flatten(0, 1)

    ids, time = torch.arange(objects).repeat(frames), torch.arange(frames).repeat_interleave(objects)
    encoder, adapter = nn.Linear(width, width), IdentityAdapter(width, 32, 16)
    nn.init.eye_(encoder.weight)

    @torch.no_grad()
    def measure():
        """Return the share of high similarities, and how often the nearest embedding has the same identity."""
        shares, right = [], []
        for _ in range(5):
            found = encoder(observe())
            direction = nn.functional.normalize(found, dim=-1)
            similarity = (direction @ direction.t()).masked_fill(torch.eye(len(ids)).bool(), -1)
            shares.append(inter_object_similarity(found, time).above)
            right.append((ids[similarity.argmax(1)] == ids).float().mean())
        return torch.stack(shares).mean().item(), torch.stack(right).mean().item()

    high, before = measure()
    assert high > 0.75, "nearly equal at first"
    quality = torch.ones(len(ids))
    parameters = [*encoder.parameters(), *adapter.parameters()]
    fit(parameters, lambda: adapter(encoder(observe()), ids, quality).loss, 200, lr=1e-2)
    low, after = measure()
    assert low < 0.3
    assert after > before


@pytest.mark.parametrize("use", [False, True])
def test_spatial_adapter_separates_by_depth(use):
    """Queries are equal; the side of the nearer object is visible in the depth of the features only."""
    torch.manual_seed(0)
    width, images = 8, 32
    near_left = torch.arange(images) % 2
    depth = torch.full((images, 1, 2, 4), 40.0)
    depth[near_left == 1, :, :, :2] = 5.0
    depth[near_left == 0, :, :, 2:] = 5.0
    features = torch.cat([depth / 50, torch.randn(images, width - 1, 2, 4)], 1)
    columns = torch.arange(4.0).expand(images, 1, 2, 4)
    position = torch.cat([columns / 4, torch.zeros(images, width - 1, 2, 4)], 1)
    mask = torch.zeros(images, 2, 4).bool()
    adapter = SpatialAdapter(width, 1, 2, DepthBins(10, 0.1, 50.0), (0,), dropout=0.0)
    readout = nn.Linear(width, 2)
    queries = torch.zeros(images, 1, width)

    def predict():
        if not use:
            return readout(queries[:, 0]), 0
        state = adapter.encode([features], [mask], [position])
        return readout(adapter.attend(0, queries, state)[:, 0]), adapter.loss(state, depth, mask)

    def loss():
        logits, of_depth = predict()
        return nn.functional.cross_entropy(logits, near_left) + of_depth

    fit([*adapter.parameters(), *readout.parameters()], loss, 150, lr=1e-2)
    accuracy = (predict()[0].argmax(1) == near_left).float().mean()
    assert (accuracy > 0.95) == use
    if not use:
        assert accuracy == 0.5


@pytest.mark.parametrize("use", [False, True])
def test_temporal_adapter_separates_by_history(use):
    """Two tracks look alike now and for most of the past; they differed in one earlier frame."""
    torch.manual_seed(0)
    width, tracks, frames = 8, 64, 5
    identity, missing = torch.arange(tracks) % 2, torch.rand(tracks, frames) < 0.2
    x = torch.ones(tracks, frames, width) + 0.1 * torch.randn(tracks, frames, width)
    missing[:, [1, -1]] = False
    x[:, 1, 0] += 2 * identity - 1
    adapter, readout = TemporalAdapter(width, 1, 2, 16, dropout=0.0), nn.Linear(width, 2)

    def predict():
        return readout(adapter(x, missing)[:, -1] if use else x[:, -1])

    parameters = [*adapter.parameters(), *readout.parameters()] if use else readout.parameters()
    fit(parameters, lambda: nn.functional.cross_entropy(predict(), identity), 60, lr=2e-2)
    accuracy = (predict().argmax(1) == identity).float().mean()
    assert (accuracy > 0.95) == use
