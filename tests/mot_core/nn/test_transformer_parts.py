"""Attention module, encoder references, position encoding and box refinement against plain loops."""

import math

import pytest
import torch

from mot_core.nn import DeformableAttention, encoder_references, inverse_sigmoid, refine_boxes, sine_position
from mot_core.nn.detr.pyramid import resize_mask
from mot_core.nn.mlp import FeedForward

SHAPES = [(4, 3), (2, 2)]
CELLS = sum(height * width for height, width in SHAPES)


def make_attention():
    torch.manual_seed(0)
    attention = DeformableAttention(embed_dim=8, num_levels=2, num_heads=2, num_points=3).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention


def read(maps, x, y):
    """Bilinear value of a map ``(h, w, D)`` at x and y in cells, zero outside."""
    result = torch.zeros(maps.shape[-1], dtype=maps.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < maps.shape[0] and 0 <= column < maps.shape[1]:
                result += (1 - abs(x - column)) * (1 - abs(y - row)) * maps[row, column]
    return result


@pytest.mark.parametrize("box", [False, True])
def test_attention_equals_a_loop(box):
    attention = make_attention()
    queries, value = torch.randn(2, 5, 8).double(), torch.randn(2, CELLS, 8).double()
    references = torch.rand(2, 5, 2, 4 if box else 2).double()
    padding = torch.zeros(2, CELLS, dtype=torch.bool)
    padding[1, 7:11] = True
    result = attention(queries, references, value, SHAPES, padding)

    values = attention.value_proj(value) * ~padding[..., None]
    for b in range(2):
        for q in range(5):
            offsets = attention.sampling_offsets(queries[b, q]).view(2, 2, 3, 2)  # head, level, point, xy
            weights = attention.attention_weights(queries[b, q]).view(2, 6).softmax(-1).view(2, 2, 3)
            heads = []
            for head in range(2):
                total, start = torch.zeros(4).double(), 0
                for level, (height, width) in enumerate(SHAPES):
                    maps = values[b, start : start + height * width, head * 4 : head * 4 + 4].view(height, width, 4)
                    start += height * width
                    for point in range(3):
                        dx, dy = offsets[head, level, point].tolist()
                        x, y, *size = references[b, q, level].tolist()
                        if box:
                            x, y = x + dx / 3 * size[0] / 2, y + dy / 3 * size[1] / 2
                        else:
                            x, y = x + dx / width, y + dy / height
                        total += weights[head, level, point] * read(maps, x * width - 0.5, y * height - 0.5)
                heads.append(total)
            torch.testing.assert_close(result[b, q], attention.output_proj(torch.cat(heads)))


def test_attention_starts_with_one_direction_per_head():
    attention = DeformableAttention(embed_dim=16, num_levels=1, num_heads=4, num_points=2)
    offsets = attention.sampling_offsets.bias.view(4, 1, 2, 2)[:, 0]
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(offsets, torch.stack([directions, 2 * directions], 1), atol=1e-6, rtol=0)
    assert not attention.attention_weights.weight.any()


def test_attention_without_queries():
    attention = make_attention()
    empty = attention(
        torch.zeros(2, 0, 8).double(), torch.zeros(2, 0, 2, 2).double(), torch.zeros(2, CELLS, 8).double(), SHAPES
    )
    assert empty.shape == (2, 0, 8)


def test_invalid_attention_arguments_are_rejected():
    with pytest.raises(ValueError, match="embed_dim must be a multiple of num_heads, got 10 and 4"):
        DeformableAttention(embed_dim=10, num_heads=4)
    attention, queries = make_attention(), torch.zeros(1, 1, 8).double()
    with pytest.raises(ValueError, match=r"references must end with 2 \(points\) or 4 \(boxes\), got \(1, 1, 2, 3\)"):
        attention(queries, torch.zeros(1, 1, 2, 3), torch.zeros(1, CELLS, 8).double(), SHAPES)


def test_encoder_references_equal_a_loop():
    ratios = torch.tensor([[[0.75, 0.5], [1.0, 0.5]], [[1.0, 1.0], [1.0, 1.0]]])
    references = encoder_references(SHAPES, ratios)
    assert references.shape == (2, CELLS, 2, 2)
    for b in range(2):
        row = 0
        for own, (height, width) in enumerate(SHAPES):
            for y in range(height):
                for x in range(width):
                    for level in range(2):
                        across = (x + 0.5) / (width * ratios[b, own, 0]) * ratios[b, level, 0]
                        down = (y + 0.5) / (height * ratios[b, own, 1]) * ratios[b, level, 1]
                        torch.testing.assert_close(references[b, row, level], torch.stack([across, down]))
                    row += 1
    # Without padding, a cell of a level refers to its own center.
    assert references[1, 0, 0].tolist() == pytest.approx([0.5 / 3, 0.5 / 4])


def test_positions_equal_a_loop():
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[1, 3:], mask[1, :, 2:] = True, True
    position = sine_position(mask, embed_dim=8)
    for b, y, x in ((0, 0, 0), (0, 3, 4), (1, 2, 1), (1, 0, 0)):
        rows, columns = (~mask[b, :, x]).sum().item(), (~mask[b, y]).sum().item()
        expected = []
        for at, length in ((y, rows), (x, columns)):
            angle = (at + 0.5) / (length + 1e-6) * 2 * math.pi
            for wavelength in (1, 10_000 ** (2 / 4)):
                expected += [math.sin(angle / wavelength), math.cos(angle / wavelength)]
        assert position[b, :, y, x].tolist() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="embed_dim must be a multiple of 4"):
        sine_position(mask, embed_dim=6)


def test_positions_are_independent_of_padding():
    bare = sine_position(torch.zeros(1, 3, 4, dtype=torch.bool), 16)
    mask = torch.ones(1, 7, 6, dtype=torch.bool)
    mask[:, :3, :4] = False
    torch.testing.assert_close(sine_position(mask, 16)[:, :, :3, :4], bare)


def test_masks_are_resized_with_nearest_pixels():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, 5:] = True
    assert resize_mask(mask, (4, 2))[0, :, 0].tolist() == [False, False, False, True]
    assert resize_mask(mask, (2, 2))[0, :, 0].tolist() == [False, False]


def test_box_refinement():
    references = torch.tensor([[0.2, 0.9, 0.3, 0.4], [0.0, 1.0, 0.5, 0.5]])
    torch.testing.assert_close(refine_boxes(torch.zeros(2, 4), references), references, atol=2e-5, rtol=0)
    moved = refine_boxes(torch.full((2, 4), 0.1), references[:, :2])
    torch.testing.assert_close(moved[0, :2], (inverse_sigmoid(references[0, :2]) + 0.1).sigmoid())
    torch.testing.assert_close(moved[:, 2:], torch.full((2, 2), 1 / (1 + math.exp(-0.1))))
    assert inverse_sigmoid(torch.tensor([-1.0, 0.0, 1.0, 2.0])).isfinite().all()


def test_unknown_activation_is_rejected():
    with pytest.raises(ValueError, match='activation must be "relu" or "gelu", got \'tanh\''):
        FeedForward(4, 8, activation="tanh")
