"""Image sizes without an image library, compared with Pillow."""

import numpy as np
import pytest
from PIL import Image

from mot_core.io import DataError, read_image_size
from mot_core.io.images import list_images


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.jpg", {"quality": 95, "subsampling": 0, "comment": b"\xff\xc0" * 3000}),  # resembles a size marker
        ("a.jpg", {"exif": b"Exif\x00\x00" + b"\xff" * 500}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (37, 1201)])
def test_size_equals_pillow(tmp_path, name, options, size):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as image:
        assert read_image_size(tmp_path / name) == image.size[::-1] == size[::-1]


@pytest.mark.parametrize("raw", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n\0\0", b"BM....", b"\xff\xd8\xff\xe0\0\0\0\0"])
def test_other_files(tmp_path, raw):
    path = tmp_path / "a.jpg"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.jpg: expected a JPEG or PNG image"):
        read_image_size(path)


def test_truncated_headers(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48)).save(path)
    raw = path.read_bytes()
    for length in range(raw.index(b"\xff\xc0")):
        path.write_bytes(raw[:length])
        with pytest.raises(DataError):
            read_image_size(path)


def test_numbered_files_only(tmp_path):
    for name in ("00000002.png", "00000010.png", "notes.txt", "thumb.png", "00000011.txt"):
        (tmp_path / name).write_bytes(b"")
    images = list_images(tmp_path)
    assert (images.numbers, images.name(7)) == ((2, 10), "00000007.png")
    assert list_images(tmp_path / "none") is None
