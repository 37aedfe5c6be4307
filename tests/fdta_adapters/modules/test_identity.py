"""Identity adapter: chunks, degenerate batches, precision."""

import pytest
import torch

from _helpers import fdta_reference as reference
from fdta_adapters import IdentityAdapter


def make(dtype=torch.float64, **options):
    return reference.randomize(IdentityAdapter(6, 8, 5, **options)).to(dtype)


def example(seed=0, count=12):
    random = torch.Generator().manual_seed(seed)
    emb = torch.randn(count, 6, generator=random, dtype=torch.float64)
    ids = torch.randint(3, (count,), generator=random)
    return emb, ids, torch.rand(count, generator=random, dtype=torch.float64) * 0.5 + 0.4


def test_equals_a_loop():
    adapter, (emb, ids, quality) = make(), example()
    output = adapter(emb, ids, quality)
    wanted = reference.contrastive(adapter.head(emb), ids.tolist(), quality.tolist())
    torch.testing.assert_close(output.loss, wanted)
    output.loss.backward()
    found = [one.grad.clone() for one in adapter.parameters()]
    adapter.zero_grad()
    wanted.backward()
    for one, other in zip(found, adapter.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad)


def test_projection_of_no_layers():
    emb, ids, quality = example()
    adapter = make(layers=0)
    assert not list(adapter.parameters())
    wanted = reference.contrastive(emb, ids.tolist(), quality.tolist())
    torch.testing.assert_close(adapter(emb, ids, quality).loss, wanted)


def test_chunks_are_summed():
    adapter, (emb, ids, quality) = make(chunk=2), example()
    frames = torch.arange(12) // 3
    plain = make()
    wanted = sum(plain(*(one[part] for one in (emb, ids, quality))).loss for part in (frames < 2, frames >= 2))
    output = adapter(emb, ids, quality, frames)
    torch.testing.assert_close(output.loss, wanted)
    with pytest.raises(ValueError, match="frames: expected the frame of each embedding"):
        adapter(emb, ids, quality)


@pytest.mark.parametrize("case", ["empty", "single", "one identity", "all different", "low quality"])
def test_batch_without_pairs(case):
    """The loss is 0, and all parameters stay in the graph."""
    emb, _, quality = example()
    ids = {"one identity": torch.zeros(12), "all different": torch.arange(12)}.get(case, torch.zeros(12)).long()
    rows = {"empty": 0, "single": 1}.get(case, 12)
    if case == "low quality":
        quality = quality * 0
    adapter = make()
    emb = emb[:rows].requires_grad_()
    output = adapter(emb, ids[:rows], quality[:rows])
    assert output.loss.item() == 0
    output.loss.backward()
    assert all(one.grad is not None and not one.grad.any() for one in adapter.parameters())


def test_invalid_rows_have_no_effect():
    adapter, (emb, ids, quality) = make(), example()
    ids[4] = -1
    quality[7] = 0.1
    wanted = adapter(emb, ids, quality)
    emb[4] = emb[7] = float("nan")
    emb.requires_grad_()
    found = adapter(emb, ids, quality)
    assert torch.equal(found.loss, wanted.loss)
    found.loss.backward()
    assert emb.grad.isfinite().all()


def test_autocast_computes_in_float32():
    emb, ids, quality = example()
    adapter = make(torch.float32)
    wanted = adapter(emb.float(), ids, quality)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = adapter(emb.float(), ids, quality)
        half = adapter(emb.bfloat16(), ids, quality)
    assert torch.equal(found.loss, wanted.loss)
    assert half.loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0.0}, "tau: expected a positive number, got 0.0"),
        ({"min_quality": 0.0}, "min_quality: expected a positive number, got 0.0; the harmonic mean needs it"),
        ({"quality": "diou"}, "quality: expected iou or giou, got 'diou'"),
        ({"weighting": "mean"}, "weighting: expected harmonic or none, got 'mean'"),
        ({"reduction": "sum"}, "reduction: expected pair or anchor, got 'sum'"),
        ({"chunk": 0}, "chunk: expected at least 1 frame, got 0"),
        ({"layers": -1}, "layers: expected at least 0, got -1"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        IdentityAdapter(**arguments)
