import copy
import pickle

import numpy as np
import pytest

from mot_core.data.decode import DecodeCache, pillow, read_image
from mot_core.io.images import read_depth


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"000007\.jpg is missing; add the file, or remove the sequence"):
        read_image(tmp_path / "000007.jpg")


@pytest.mark.parametrize("extension", ["jpg", "png"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_corrupt_image(tmp_path, extension, damage):
    path = tmp_path / f"000007.{extension}"
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    pillow().fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"not an image"}[damage])
    with pytest.raises(ValueError, match=rf"image .*000007\.{extension} cannot be decoded \(.*\); replace the file"):
        read_image(path)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_are_converted_to_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    pillow().new(mode, (5, 4)).save(path)
    assert read_image(path).shape == (4, 5, 3)


def test_colored_depth_map_is_rejected(save_image):
    with pytest.raises(ValueError, match=r"expected a grayscale image, got mode RGB"):
        read_depth(save_image("depth.png"))


def test_cache_evicts_the_least_recently_used():
    reads = []
    cache = DecodeCache(250)

    def read(path):
        reads.append(path)
        return np.full(100, ord(path), np.uint8)

    for path in "abacab":
        assert cache.get(path, read)[0] == ord(path)
        assert cache.num_bytes == sum(array.nbytes for array in cache.kept.values()) <= 250
    assert reads == ["a", "b", "c", "b"]


def test_large_arrays_are_not_cached_and_arrays_are_read_only():
    cache = DecodeCache(10)
    array = cache.get("a", lambda _: np.zeros(11, np.uint8))
    assert not cache.kept
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
def test_copies_of_a_cache_are_empty(clone):
    cache = DecodeCache(100)
    cache.get("a", lambda _: np.zeros(10, np.uint8))
    other = clone(cache)
    assert (other.max_bytes, other.num_bytes, len(other.kept)) == (100, 0, 0)


def test_negative_cache_size_is_rejected():
    with pytest.raises(ValueError, match="max_bytes: expected at least 0, got -1"):
        DecodeCache(-1)
