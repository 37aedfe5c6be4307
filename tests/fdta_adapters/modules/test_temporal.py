"""Temporal adapter: causality, missing frames, isolation of tracks, streaming."""

import pytest
import torch

from _helpers import fdta_reference as reference
from fdta_adapters import TemporalAdapter, TrackHistory, dual_mask


def make(dtype=torch.float64, channels=8, layers=2, seed=0, **options):
    adapter = TemporalAdapter(channels, layers, heads=2, ffn=12, **options)
    return reference.randomize(adapter, seed).to(dtype).eval()


def example(tracks=4, frames=6, channels=8, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(tracks, frames, channels, generator=random, dtype=dtype)
    return x, torch.rand(tracks, frames, generator=random) < 0.3


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_mask(frames):
    missing = torch.rand(3, 2, frames) < 0.5
    found = dual_mask(missing)
    for track in torch.cartesian_prod(torch.arange(3), torch.arange(2)).tolist():
        for j in range(frames):
            for k in range(frames):
                wanted = k > j or (bool(missing[track[0], track[1], k]) and k != j)
                assert found[track[0], track[1], j, k] == wanted
    assert not found.all(-1).any()


def test_equals_a_loop_over_tracks():
    adapter = make()
    x, missing = example()
    x = x.masked_fill(missing[..., None], 0)
    wanted = reference.temporal(adapter, x, missing)
    # The sine encoding is float32.
    torch.testing.assert_close(adapter(x, missing), wanted.masked_fill(missing[..., None], 0), rtol=1e-5, atol=1e-6)
    adapter.zero_missing = False
    torch.testing.assert_close(adapter(x, missing), wanted, rtol=1e-5, atol=1e-6)


def test_causality():
    adapter = make()
    x, missing = example()
    later = x.clone()
    later[:, 3:] = torch.randn_like(later[:, 3:])
    assert torch.equal(adapter(later, missing)[:, :3], adapter(x, missing)[:, :3])
    jacobian = (
        torch.autograd.functional.jacobian(lambda x: adapter(x, missing[:1])[0].sum(-1), x[:1])[:, 0].abs().sum(-1)
    )
    assert not jacobian.triu(1).any()
    assert (jacobian.diagonal()[~missing[0]] > 0).all()


def test_missing_tokens_change_nothing():
    adapter = make(zero_missing=False)
    x, missing = example()
    wanted = adapter(x, missing)
    other = x.masked_fill(missing[..., None], float("nan")).requires_grad_()
    found = adapter(other, missing)
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert not other.grad[missing].any()
    assert other.grad.isfinite().all()


def test_without_the_mask_missing_frames_are_zero_vectors():
    x, missing = example()
    adapter, masked = make(mask_missing=False), make(zero_missing=False)
    masked.load_state_dict(adapter.state_dict())
    zeros = x.masked_fill(missing[..., None], 0)
    wanted = masked(zeros, torch.zeros_like(missing)).masked_fill(missing[..., None], 0)
    torch.testing.assert_close(adapter(x.masked_fill(missing[..., None], float("nan")), missing), wanted)
    assert not torch.allclose(wanted, adapter.eval()(x, torch.zeros_like(missing)).masked_fill(missing[..., None], 0))


def test_all_missing_is_finite():
    adapter = make(zero_missing=False)
    x, missing = example()
    assert adapter(x * float("nan"), torch.ones_like(missing)).isfinite().all()
    adapter.zero_missing = True
    assert not adapter(x, torch.ones_like(missing)).any()


def test_lone_missing_token_ignores_its_position():
    """Its softmax has one key, and values carry no position."""
    adapter = make(zero_missing=False)
    x, missing = example()
    found = adapter(x, torch.ones_like(missing))
    torch.testing.assert_close(found, found[:, :1].expand_as(found))


def test_tracks_are_independent():
    adapter = make()
    x, missing = example()
    other = x.clone()
    other[1] += 1
    kept = [0, 2, 3]
    assert torch.equal(adapter(other, missing)[kept], adapter(x, missing)[kept])
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(adapter(x[order], missing[order]), adapter(x, missing)[order])


@pytest.mark.parametrize("position", ["window", "none"])
def test_prefixes(position):
    adapter = make(position=position)
    x, missing = example()
    whole = adapter(x, missing)
    for frames in range(1, 7):
        torch.testing.assert_close(adapter(x[:, :frames], missing[:, :frames]), whole[:, :frames])


def test_age_ignores_frames_before_birth():
    x, missing = example()
    late = torch.cat([torch.zeros_like(x[:, :3]), x], 1)
    absent = torch.cat([torch.ones_like(missing[:, :3]), missing], 1)
    aged = make(position="age")
    torch.testing.assert_close(aged(late, absent)[:, 3:], aged(x, missing))
    window = make()
    assert not torch.allclose(window(late, absent)[:, 3:], window(x, missing))


def test_leading_dimensions():
    adapter = make()
    x, missing = example(tracks=12)
    wanted = adapter(x, missing)
    shaped = adapter(x.view(3, 2, 2, 6, 8), missing.view(3, 2, 2, 6))
    torch.testing.assert_close(shaped.view_as(x), wanted)
    torch.testing.assert_close(torch.cat([adapter(x[i : i + 4], missing[i : i + 4]) for i in (0, 4, 8)]), wanted)
    assert adapter(x[:0], missing[:0]).shape == (0, 6, 8)
    assert adapter(x[0, :1], missing[0, :1]).shape == (1, 8)


def test_single_frame_ignores_position():
    x, missing = example(frames=1)
    missing[:] = False
    torch.testing.assert_close(make()(x, missing), make(position="none")(x, missing))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    x, missing = example(dtype=torch.float32)
    wanted = make()(x.double(), missing)
    found = make(dtype)(x.to(dtype), missing)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=0.05, atol=0.05 if dtype != torch.float32 else 1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = make(torch.float32)(x, missing)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.double(), wanted, rtol=0.1, atol=0.1)


def test_closed_gate_is_the_identity():
    adapter = make(residual="gated")
    adapter.gate.data.zero_()
    x, missing = example()
    present = ~missing
    assert torch.equal(adapter(x, missing)[present], x[present])
    adapter.gate.data.fill_(20.0)  # open
    plain = make()
    plain.load_state_dict({name: value for name, value in adapter.state_dict().items() if name != "gate"})
    torch.testing.assert_close(adapter(x, missing), plain(x, missing))


def test_gradcheck():
    adapter = make(layers=1)
    x, missing = example(tracks=2, frames=3)
    assert torch.autograd.gradcheck(lambda x: adapter(x, missing), x[:, :3].requires_grad_(), atol=1e-4)


def test_checkpointing_has_the_same_gradients():
    x, missing = example()
    gradients = []
    for checkpointing in (False, True):
        adapter = make(checkpointing=checkpointing, dropout=0.3).train()
        torch.manual_seed(0)
        adapter(x, missing).square().sum().backward()
        gradients.append([one.grad for one in adapter.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_streaming_equals_one_pass():
    """Frames that arrive one by one, with a growing window, give the tokens of a pass over the clip."""
    adapter = make()
    x, missing = example()
    missing[3, :4] = True  # born in frame 4
    missing[:, 5] = False
    whole = adapter(x, missing)
    history, ids = TrackHistory(window=6), torch.tensor([5, 2, 9, 7])
    for t in range(6):
        seen = ~missing[:, t]
        history.append(ids, x[:, t], seen)
        tokens, absent = history.tokens(ids)
        assert torch.equal(absent, missing[:, : t + 1])
        torch.testing.assert_close(adapter(tokens, absent), whole[:, : t + 1])
    order = torch.tensor([3, 0])
    assert torch.equal(history.tokens(ids[order])[0], tokens[order])


def test_full_window_drops_the_oldest_frame():
    x, _ = example()
    history = TrackHistory(window=3)
    for t in range(6):
        history.append(torch.arange(4), x[:, t])
    tokens, missing = history.tokens(torch.arange(4))
    assert torch.equal(tokens, x[:, 3:])
    assert not missing.any()
    history.keep(torch.tensor([1, 3]))
    assert history.tokens(torch.arange(4))[1].all(1).tolist() == [True, False, True, False]
    history.reset()
    assert len(history) == 0


def test_history_without_objects_stays_in_the_graph():
    x = torch.randn(0, 4, requires_grad=True)
    history = TrackHistory()
    history.append(torch.zeros(0).long(), x)
    tokens, missing = history.tokens(torch.tensor([3]))
    assert missing.all()
    assert tokens.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 9}, "channels: expected an even multiple of the 2 heads, got 9"),
        ({"position": "time"}, "position: expected window or age or none, got 'time'"),
        ({"residual": "add"}, "residual: expected replace or gated, got 'add'"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemporalAdapter(**({"channels": 8, "heads": 2} | arguments))


def test_invalid_mask():
    with pytest.raises(ValueError, match=r"missing: expected a bool tensor of shape \(4, 6\), got .* of shape \(4,\)"):
        make()(example()[0], torch.zeros(4).bool())
    with pytest.raises(ValueError, match="window: expected at least 1 frame, got 0"):
        TrackHistory(0)
