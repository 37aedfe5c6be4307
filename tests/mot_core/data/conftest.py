"""Fixtures: small datasets on disk, and equality of batches."""

import pytest
import torch

# Lightning and pillow are imported in the fixtures, so that tests without them are collected and skipped.


@pytest.fixture(scope="session")
def video_root(tmp_path_factory):
    """A folder with two sequences of 8 frames, with depth maps, shared by tests (read-only)."""
    from mot_core.data import SyntheticVideo

    root = tmp_path_factory.mktemp("videos")
    video = SyntheticVideo(num_videos=2, num_frames=8, image_size=(48, 64), num_objects=(3, 3), seed=4, with_depth=True)
    for number in range(2):
        video.save(root, number)
    return root


@pytest.fixture
def video_folder(tmp_path):
    """A folder with one sequence of 6 frames, which a test may modify."""
    from mot_core.data import SyntheticVideo

    video = SyntheticVideo(num_videos=1, num_frames=6, image_size=(48, 64), num_objects=(3, 3), seed=4)
    return video.save(tmp_path / "root", 0)


@pytest.fixture
def save_image(tmp_path):
    """Write an image of one color into the folder of the test."""
    from mot_core.data.decode import pillow

    def save(name, size=(30, 40), color=(10, 20, 30), mode="RGB"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow().new(mode, size[::-1], color).save(path)
        return path

    return save


@pytest.fixture
def assert_same_batch():
    """Assert that two batches are bit-identical."""

    def check(one, other):
        for name in one.SHAPES:
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.sequences == other.sequences
        for a, b in zip(one.targets, other.targets, strict=True):
            for name in a.SHAPES:
                assert torch.equal(getattr(a, name), getattr(b, name)), name
            assert a.extras.keys() == b.extras.keys()
            assert all(torch.equal(a.extras[name], b.extras[name]) for name in a.extras)

    return check
