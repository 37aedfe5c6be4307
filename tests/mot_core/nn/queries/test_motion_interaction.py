"""MOTE's query interaction with the motion of the scene, compared with plain loops."""

import math

import pytest
import torch

from mot_core.nn import MotionInteraction, QueryInteraction, fuse_motion, pool_motion


@pytest.fixture
def interaction():
    torch.manual_seed(0)
    return MotionInteraction(8, 16, 2).double().eval()


def inputs(tracks=3, clips=1):
    generator = torch.Generator().manual_seed(1)
    shapes = (clips, tracks, 16), (clips, tracks, 8), (clips, tracks, 8)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


def test_motion_takes_the_place_of_the_positions(interaction):
    """The attention equals that of a query interaction whose positions are the projected motion."""
    queries, hidden, motion = inputs()
    plain = QueryInteraction(8, 16, 2).double().eval()
    plain.load_state_dict({name: one for name, one in interaction.state_dict().items() if "motion" not in name})
    found = interaction(queries, hidden, motion=motion)
    expected = plain(torch.cat([interaction.motion(motion), queries[..., 8:]], -1), hidden)
    torch.testing.assert_close(found[..., 8:], expected[..., 8:])
    change = found[..., :8] - plain.position_norm.bias
    assert not torch.allclose(change, expected[..., :8] - plain.position_norm.bias), "the query keeps its own position"


def test_padding_permutation_and_empty(interaction):
    queries, hidden, motion = inputs(tracks=4)
    found = interaction(queries, hidden, motion=motion)
    order = torch.tensor([2, 0, 3, 1])
    again = interaction(queries[:, order], hidden[:, order], motion=motion[:, order])
    torch.testing.assert_close(again, found[:, order])
    valid = torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(
        interaction(queries, hidden, valid, motion)[:, :3],
        interaction(queries[:, :3], hidden[:, :3], None, motion[:, :3]),
    )
    assert interaction(queries[:, :0], hidden[:, :0], motion=motion[:, :0]).shape == (1, 0, 16)
    torch.testing.assert_close(
        interaction(queries, hidden), interaction(queries, hidden, motion=torch.zeros_like(motion))
    )


def test_gradients(interaction):
    given = [one.requires_grad_() for one in inputs(tracks=2)]
    assert torch.autograd.gradcheck(lambda queries, hidden, motion: interaction(queries, hidden, None, motion), given)


def test_fusion_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    flow = 8 * torch.randn(2, 2, 3, 5, generator=generator, dtype=torch.float64)
    fused = fuse_motion(levels, flow)
    for clip in range(2):
        for channel in range(4):
            for row in range(3):
                for column in range(5):
                    values = [level[clip, channel, row, column].item() for level in levels]
                    values.append(flow[clip, channel % 2, row, column].item())
                    total = sum(map(math.exp, values))
                    expected = sum(math.exp(value) / total * value for value in values)
                    assert fused[clip, channel, row, column].item() == pytest.approx(expected)


def test_fusion_at_the_smallest_size_in_cells():
    levels = [torch.zeros(1, 2, 8, 12), torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 2, 3)]
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0] = 16.0  # two cells of 8 pixels
    fused = fuse_motion(levels, flow)
    assert fused.shape == (1, 2, 2, 3)
    expected = 2 * math.exp(2) / (3 + math.exp(2))
    torch.testing.assert_close(fused[:, 0], torch.full((1, 2, 3), expected))
    assert not fused[:, 1].any()
    with pytest.raises(ValueError, match="levels: expected an even number of channels, got 3"):
        fuse_motion([torch.zeros(1, 3, 2, 2)], flow)


def test_pooling_without_padding():
    generator = torch.Generator().manual_seed(0)
    fused = torch.randn(2, 3, 4, 5, generator=generator)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, 3:], mask[0, :, 4:] = True, True
    mask[1] = True  # a frame of padding only
    poisoned = fused.masked_fill(mask[:, None], float("nan"))
    pooled = pool_motion(poisoned, mask)
    torch.testing.assert_close(pooled[0], fused[0, :, :3, :4].mean((1, 2)))
    assert not pooled[1].any()
