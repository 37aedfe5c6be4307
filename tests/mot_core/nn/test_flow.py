"""Optical flow of shifted textures, and estimators by name."""

import sys

import pytest
import torch
import torch.nn.functional as F

from mot_core.nn import LucasKanade, RAFTFlow, WrappedFlow, ZeroFlow, flow, make_flow


def texture(seed=0, size=(64, 96)):
    """Return a smooth random image ``(1, 3, H, W)``."""
    noise = torch.randn(1, 3, size[0] // 4, size[1] // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=size, mode="bicubic", align_corners=False)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2), (3, 2), (-5, 4)])
def test_shifted_textures(dx, dy):
    image = texture()
    found = LucasKanade()(image, image.roll((dy, dx), (2, 3)))
    inside = found[0, :, 12:-12, 12:-12].flatten(1)
    assert (inside.median(1).values - torch.tensor([dx, dy])).abs().max() < 0.1
    assert ((inside - torch.tensor([[dx], [dy]])).norm(dim=0) < 0.5).float().mean() > 0.9


def test_estimation_at_half_the_size():
    image = texture(size=(65, 97))
    found = LucasKanade(stride=2)(image[..., :63, :95], image.roll((2, -4), (2, 3))[..., :63, :95])
    assert found.shape == (1, 2, 63, 95)
    inside = found[0, :, 16:-16, 16:-16].flatten(1)
    assert (inside.median(1).values - torch.tensor([-4, 2])).abs().max() < 0.2


def test_images_of_a_batch_are_independent():
    one, other = texture(0), texture(1)
    pairs = [(one, one.roll(2, 3)), (other, other.roll(-1, 2))]
    together = LucasKanade()(*(torch.cat(frames) for frames in zip(*pairs, strict=True)))
    for row, pair in zip(together, pairs, strict=True):
        torch.testing.assert_close(row, LucasKanade()(*pair)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(5, 7), (1, 2 + 1), (33, 65)])
def test_odd_sizes_and_images_without_texture(size):
    if min(size) > 1:
        found = LucasKanade()(texture(size=(36, 68))[..., : size[0], : size[1]], torch.zeros(1, 3, *size))
        assert found.shape == (1, 2, *size)
        assert found.isfinite().all()
        assert not LucasKanade()(torch.ones(1, 3, *size), torch.ones(1, 3, *size)).any()
    assert not ZeroFlow()(torch.ones(2, 3, *size), torch.ones(2, 3, *size)).any()


def test_double_precision_and_no_gradient():
    image = texture().double().requires_grad_()
    found = LucasKanade()(image, image.roll(1, 3))
    assert found.dtype == torch.float64
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels: expected at least 1, got 0"),
        ({"iterations": 0}, "iterations: expected at least 1, got 0"),
        ({"stride": 0}, "stride: expected at least 1, got 0"),
        ({"window": 4}, "window: expected an odd number of pixels, got 4"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        LucasKanade(**options)


def test_functions_must_return_two_channels():
    wrapped = WrappedFlow(lambda previous, current: current)
    with pytest.raises(ValueError, match=r"flow: expected a result of shape \(1, 2, 4, 6\), got \(1, 3, 4, 6\)"):
        wrapped(torch.zeros(1, 3, 4, 6), torch.zeros(1, 3, 4, 6))


def test_estimators_by_name():
    assert isinstance(make_flow("zero"), ZeroFlow)
    assert isinstance(make_flow("lucas_kanade"), LucasKanade)
    with pytest.raises(ValueError, match="expected 'zero', 'lucas_kanade', 'raft' or 'raft:PATH', got 'none'"):
        make_flow("none")


def test_raft_without_torchvision(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="torchvision")

    monkeypatch.setattr(flow, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="the flow 'raft' needs torchvision: pip install"):
        make_flow("raft")


class FakeRAFT(torch.nn.Module):
    """The interface of torchvision's RAFT: images in [-1, 1] with sides of multiples of 8, a list of flows."""

    def __init__(self, weights):
        assert weights is None, "no download"
        super().__init__()
        self.offset = torch.nn.Parameter(torch.zeros(2))

    def forward(self, previous, current):
        assert previous.shape[2] % 8 == previous.shape[3] % 8 == 0
        self.seen = previous
        flow = self.offset[:, None, None].expand(len(current), 2, *current.shape[2:])
        return [torch.zeros_like(flow), flow]


@pytest.fixture
def fake_torchvision(monkeypatch):
    module = type(sys)("torchvision.models.optical_flow")
    module.raft_large = lambda weights: FakeRAFT(weights)
    monkeypatch.setattr(flow, "import_module", lambda name: module)


@pytest.mark.usefixtures("fake_torchvision")
def test_raft_of_torchvision(tmp_path):
    path = tmp_path / "raft.pth"
    torch.save({"offset": torch.tensor([3.0, -1.0])}, path)
    estimator = make_flow(f"raft:{path}").train()
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    white = ((torch.ones(1, 3, 30, 45) - mean) / std).requires_grad_()
    found = estimator(white, white)
    assert found.shape == (1, 2, 30, 45)
    assert found[0, :, 0, 0].tolist() == [3.0, -1.0]
    torch.testing.assert_close(estimator.network.seen, torch.ones(1, 3, 32, 48))
    assert not found.requires_grad
    assert not any(one.requires_grad for one in estimator.parameters())
    assert not estimator.network.training
    assert list(estimator.state_dict()) == ["network.offset"]


@pytest.mark.usefixtures("fake_torchvision")
def test_wrong_files_of_raft(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"flow: no file missing\.pth; expected raft:PATH"):
        make_flow("raft:missing.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"flow: expected weights of torchvision's raft_large in .*other\.pth"):
        RAFTFlow(str(tmp_path / "other.pth"))


def test_broken_torchvision(monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(flow, "import_module", fail)
    with pytest.raises(RuntimeError, match=r"flow: expected a torchvision that fits torch .*torchvision::nms does not"):
        make_flow("raft")
