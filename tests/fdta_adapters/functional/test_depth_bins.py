"""Depth bins: edges, values, targets and conventions, against a search over edges."""

import pytest
import torch

from _helpers.fdta_reference import bin_edges, find_bin
from fdta_adapters import DepthBins, depth_position

SETTINGS = [(150, 1e-3, 256.0), (120, 1e-3, 256.0), (1, 0.0, 1.0), (10, 2.0, 60.0)]
EACH = pytest.mark.parametrize("setting", SETTINGS, ids=str)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@EACH
def test_edges(setting):
    bins, d_min, d_max = setting
    edges = DepthBins(*setting).edges(torch.float64)
    torch.testing.assert_close(edges, torch.tensor(bin_edges(*setting), dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert (edges.diff() > 0).all()
    assert edges[0].item() == pytest.approx(d_min, rel=1e-12)
    assert edges[-1].item() == pytest.approx(d_max, rel=1e-12)
    widths = DepthBins(*setting).delta * torch.arange(1, bins + 1)
    torch.testing.assert_close(edges.diff(), widths.double(), rtol=1e-6, atol=1e-9)


@EACH
@DTYPES
def test_center_round_trip(setting, dtype):
    bins = DepthBins(*setting)
    assert bins.bin(bins.values(dtype)[:-1]).tolist() == list(range(setting[0]))


@EACH
@DTYPES
def test_left_edges_round_trip_within_rounding(setting, dtype):
    bins = DepthBins(*setting)
    edges = bins.edges(dtype)
    position = -0.5 + 0.5 * (1 + 8 * (edges - bins.d_min) / bins.delta).clamp(min=0).sqrt()
    assert (position - torch.arange(len(edges))).abs().max() < 1e-3


@EACH
def test_bins_of_random_depths(setting):
    bins, edges = DepthBins(*setting), bin_edges(*setting)
    depths = torch.rand(300, dtype=torch.float64) * 1.2 * setting[2]
    assert bins.bin(depths).tolist() == [find_bin(depth, edges) for depth in depths.tolist()]


def test_bins_are_monotone():
    bins = DepthBins()
    depths = torch.linspace(1e-3, 255.99, 20_000)
    assert (bins.bin(depths).diff() >= 0).all()


def test_out_of_range_is_background():
    outside = torch.tensor([0.0, -1.0, 256.5, float("nan"), float("inf"), -float("inf")])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert DepthBins().bin(outside.to(dtype)).tolist() == [150] * 6


def test_decoding_error():
    depths = torch.rand(2000, dtype=torch.float64) * 255.9 + 0.01
    for value in ("center", "left_edge"):
        bins = DepthBins(value=value)
        index = bins.bin(depths)
        width = bins.edges(torch.float64).diff()[index]
        error = bins.values(torch.float64)[index] - depths
        if value == "center":
            assert (error.abs() <= width / 2 + 1e-9).all()
        else:
            assert ((error > -width - 1e-9) & (error <= 1e-9)).all()


@pytest.mark.parametrize("value", ["center", "left_edge"])
def test_expectation(value):
    bins = DepthBins(30, 0.5, 40.0, value)
    certain = torch.eye(31)[None].transpose(1, 2)
    assert torch.equal(bins.expectation(certain)[0], bins.values())
    mixed = torch.randn(2, 31, 4, 5).softmax(1)
    wanted = sum(mixed[:, k] * depth for k, depth in enumerate(bins.values().tolist()))
    torch.testing.assert_close(bins.expectation(mixed), wanted)
    assert bins.expectation(mixed).min() >= 0.5
    assert bins.expectation(mixed).max() <= 40.0


def test_everything_follows_the_settings():
    """Targets, values and size of the position table change together."""
    wide, narrow = DepthBins(20, 1.0, 100.0), DepthBins(20, 1.0, 50.0)
    assert (wide.num_positions, narrow.num_positions) == (101, 51)
    depth = torch.tensor([40.0])
    assert wide.bin(depth) < narrow.bin(depth)
    for bins in (wide, narrow):
        assert bins.values()[bins.bin(depth)].item() == pytest.approx(40.0, abs=3)
        assert bins.values()[-1] == bins.d_max


def test_disparity_convention_reverses_the_order():
    depth = torch.linspace(1, 50, 40)
    by_depth = DepthBins(20, 0.01, 60.0).bin(depth)
    by_disparity = DepthBins(20, 0.01, 1.0, convention="disparity").bin(1 / depth)
    assert (by_depth.diff() >= 0).all()
    assert (by_disparity.diff() >= 0).all()
    assert (DepthBins(20, 0.01, 1.0).bin(1 / depth).diff() <= 0).all()
    near = DepthBins(convention="disparity")
    assert near.bin(torch.tensor([255.9, 0.0])).tolist() == [2, 150]  # the nearest bins are fine, 0 is the farthest
    assert near.values()[-1] == 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_bins": 0}, "num_bins: expected at least 1, got 0"),
        ({"d_min": 5.0, "d_max": 5.0}, "expected 0 <= d_min < d_max, got 5.0 and 5.0"),
        ({"d_max": float("nan")}, "expected 0 <= d_min < d_max"),
        ({"value": "middle"}, "value: expected center or left_edge, got 'middle'"),
        ({"convention": "log"}, "convention: expected depth or disparity, got 'log'"),
    ],
)
def test_invalid_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        DepthBins(**arguments)


def test_position_embedding_is_exact_at_integers():
    table = torch.randn(12, 8)
    assert torch.equal(depth_position(torch.arange(12.0), table), table)
    halves = depth_position(torch.arange(11.0) + 0.5, table)
    torch.testing.assert_close(halves, (table[:-1] + table[1:]) / 2)
    for side in (-1e-4, 1e-4):
        torch.testing.assert_close(depth_position(torch.tensor([5 + side]), table), table[5:6], rtol=0, atol=1e-3)
    ends = depth_position(torch.tensor([-3.0, 99.0, float("inf")]), table)
    assert torch.equal(ends, table[[0, 11, 11]])


def test_position_embedding_gradient():
    table = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    depth = torch.tensor([[0.3, 1.7], [2.2, 4.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(depth_position, (depth, table))
    (gradient,) = torch.autograd.grad(depth_position(depth, table)[..., 1].sum(), depth)
    steps = table[1:, 1] - table[:-1, 1]
    torch.testing.assert_close(gradient, steps[depth.floor().long()])


def test_position_embedding_in_half_precision():
    table = torch.randn(257, 4, dtype=torch.float16)
    found = depth_position(torch.tensor([200.25], dtype=torch.float16), table)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, 0.75 * table[200:201].float() + 0.25 * table[201:202].float())
