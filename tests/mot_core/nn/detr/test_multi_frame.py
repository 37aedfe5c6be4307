"""Positions of several frames, and attention to the previous frame."""

import math

import pytest
import torch

from mot_core.nn import DeformableAttention, DeformableDETR, MultiFrameDETR, SmallBackbone, sine_frame_position

SIZES = {
    "num_queries": 5, "embed_dim": 32, "num_heads": 4, "ffn_dim": 32, "num_levels": 3, "num_encoder_layers": 1,
    "num_decoder_layers": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    detector = MultiFrameDETR(SmallBackbone(8), **SIZES)
    for module in detector.modules():  # initially, every level has the same weight
        if isinstance(module, DeformableAttention):
            torch.nn.init.normal_(module.attention_weights.weight, std=0.2)
            torch.nn.init.normal_(module.attention_weights.bias)
    return detector.double().eval()


def images(seed, batch=1, size=(64, 96)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(detector, current, previous=None):
    joined = detector.join(current, previous)
    return detector.decode(joined, detector.encode(joined))


@pytest.mark.parametrize(("frame", "frames", "width"), [(0, 2, 12), (1, 2, 12), (2, 3, 32)])
def test_positions(frame, frames, width):
    """Frame, row and column as fractions of a turn, in sines and cosines of falling frequency."""
    mask = torch.zeros(1, 3, 5, dtype=torch.bool)
    mask[0, 2], mask[0, :, 4] = True, True
    found = sine_frame_position(mask, frame, frames, width)[0].double()
    side = width // 6 * 2
    for row in range(2):
        for column in range(4):
            expected = []
            for fraction, channels in (
                ((frame + 1) / frames, width - 2 * side), ((row + 1) / 2, side), ((column + 1) / 4, side)
            ):  # fmt: skip
                for index in range(channels):
                    angle = 2 * math.pi * fraction / 10_000 ** (2 * (index // 2) / channels)
                    expected.append(math.cos(angle) if index % 2 else math.sin(angle))
            torch.testing.assert_close(found[:, row, column], torch.tensor(expected).double(), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="embed_dim must be even and at least 6"):
        sine_frame_position(mask, 0, 2, 9)


def test_first_frame_takes_its_own_place(detector):
    first = detector.features(images(0))
    alone, paired = run(detector, first), run(detector, first, first)
    assert torch.equal(alone.boxes_cxcywh, paired.boxes_cxcywh)
    assert torch.equal(alone.hidden, detector(images(0)).hidden)


def test_previous_frame_is_attended_to(detector):
    current, previous = detector.features(images(0)), detector.features(images(1))
    assert not torch.allclose(run(detector, current).hidden, run(detector, current, previous).hidden)
    assert torch.equal(run(detector, current, previous).hidden, detector(images(0), previous=previous).hidden)
    assert not torch.allclose(run(detector, previous, current).hidden, run(detector, current, previous).hidden)


def test_previous_frame_of_another_size(detector):
    current, previous = detector.features(images(0)), detector.features(images(1, size=(32, 64)))
    output = run(detector, current, previous)
    assert output.boxes_cxcywh.isfinite().all()


def test_padding_changes_no_result(detector):
    """Neither in the current nor in the previous frame."""
    small = [images(seed, size=(64, 64)) for seed in (0, 1)]
    mask = torch.zeros(1, 64, 96, dtype=torch.bool)
    mask[:, :, 64:] = True
    found = []
    for fill in (7.0, float("nan")):
        padded = [torch.cat([one, torch.full((1, 3, 64, 32), fill)], -1) for one in small]
        output = run(detector, *(detector.features(one, mask) for one in padded))
        found.append(output.hidden)
    assert torch.equal(*found)


def test_gradient_reaches_both_frames(detector):
    one, other = images(0).requires_grad_(), images(1).requires_grad_()
    run(detector, detector.features(one), detector.features(other)).hidden.square().sum().backward()
    assert one.grad.abs().sum() > 0
    assert other.grad.abs().sum() > 0


def test_sampling_offsets_are_divided_by_height_and_width():
    torch.manual_seed(0)
    released, plain = (DeformableAttention(8, num_levels=1, num_heads=2, num_points=1) for _ in range(2))
    plain.load_state_dict(released.state_dict())
    released.height_first = True
    value = torch.randn(1, 4 * 8, 8)
    points, boxes = torch.full((1, 3, 1, 2), 0.5), torch.full((1, 3, 1, 4), 0.5)
    queries = torch.randn(1, 3, 8)
    with torch.no_grad():
        wide = torch.tensor([8.0, 4.0]) / torch.tensor([4.0, 8.0])  # width and height over height and width
        plain.sampling_offsets.bias.copy_((released.sampling_offsets.bias.view(-1, 2) * wide).flatten())
    assert torch.allclose(
        released(queries, points, value, [(4, 8)]), plain(queries, points, value, [(4, 8)]), atol=1e-6
    )
    plain.load_state_dict(released.state_dict())
    assert torch.equal(released(queries, boxes, value, [(4, 8)]), plain(queries, boxes, value, [(4, 8)]))


def test_wrong_pyramids(detector):
    pyramid = detector.features(images(0))
    with pytest.raises(ValueError, match="pyramid: expected 6 levels of two frames with their positions, got 3 levels"):
        detector.encode(pyramid)
    plain, joined = DeformableDETR(SmallBackbone(8), **SIZES), detector.join(pyramid)
    with pytest.raises(ValueError, match="the encoder needs 3 levels with their positions, got 6"):
        plain.encode(joined)
