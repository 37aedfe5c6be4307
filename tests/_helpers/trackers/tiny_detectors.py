"""Detectors small enough to build in every test, and targets for them."""

import torch

from mot_core.nn import DeformableDETR, SmallBackbone
from mot_core.structures import FrameTargets, TrackState


def make_detector(seed=0, dtype=torch.float64, **options):
    """Return a detector of 32 channels with random parameters, so that initial zeros hide nothing."""
    torch.manual_seed(seed)
    options = {"num_queries": 6, "num_encoder_layers": 2, "num_decoder_layers": 3, "ffn_dim": 32} | options
    detector = DeformableDETR(SmallBackbone(8), embed_dim=32, num_heads=4, num_points=2, **options).to(dtype)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if "backbone" not in name and "norm" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return detector.eval()


def make_tracks(count, batch=2, seed=1, valid=None, dab=False):
    """Return track states with random queries, for :func:`make_detector`."""
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(batch, count, 32 if dab else 64, generator=generator, dtype=torch.float64)
    references = torch.randn(batch, count, 4 if dab else 2, generator=generator, dtype=torch.float64)
    valid = torch.ones(batch, count, dtype=torch.bool) if valid is None else valid
    return TrackState(torch.arange(count).expand(batch, -1), valid, queries=queries, ref_logits=references)


def make_targets(counts, size=None, classes=1, seed=0, dtype=torch.float64):
    """Return random targets with the given numbers of objects per frame."""
    generator = torch.Generator().manual_seed(seed)
    size = max(counts) if size is None else size
    valid = torch.arange(size) < torch.tensor(counts)[:, None]
    boxes = torch.rand(len(counts), size, 4, generator=generator, dtype=dtype) * 0.4 + 0.3
    labels = torch.randint(classes, valid.shape, generator=generator).masked_fill(~valid, -1)
    return FrameTargets(boxes * valid[..., None], labels, labels, valid)
