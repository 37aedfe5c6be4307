"""Pixels of images of every kind: depth, palette, alpha, orientation and size."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from mot_core.data import MOTDataModule, SyntheticVideo
from mot_core.io import read_image, read_image_size
from mot_core.io.images import list_images, read_depth
from mot_core.io.images.pixels import SAMPLED
from mot_core.visualization.frames import TrackedFrames

RAMP = np.arange(48, dtype=np.float64).reshape(6, 8)


def save_deep(folder, values, name="000001.png", dtype=np.uint16):
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(values).astype(dtype)).save(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        ("a.png", np.uint16, 7000 + RAMP),  # a thermal camera
        ("a.png", np.uint16, RAMP * 1394),
        ("a.tif", np.uint16, 7000 + RAMP),
        ("a.tif", np.int32, RAMP * 100_000 - 7),
        ("a.tif", np.float32, RAMP / 47 - 0.5),
    ],
)
def test_deep_gray_is_scaled_by_its_range(tmp_path, name, dtype, values):
    image = read_image(save_deep(tmp_path, values, name, dtype))
    expected = np.repeat(np.floor(RAMP * 255 / 47 + 0.5)[..., None], 3, -1)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, expected, atol=1)
    assert (image.min(), image.max()) == (0, 255)


def test_one_scale_per_folder(tmp_path):
    """The same value has the same brightness in every frame, whatever else is visible."""
    for number in range(1, 50):
        save_deep(tmp_path / "thermal", np.array([[3000, 3000 + 20 * number]]), f"{number:06d}.png")
    images = [read_image(tmp_path / "thermal" / f"{number:06d}.png") for number in (1, 17, 49)]
    assert SAMPLED < 49
    assert [image[0, 0, 0] for image in images] == [0, 0, 0]
    assert [image[0, 1, 0] for image in images] == [round(20 * number / 980 * 255) for number in (1, 17, 49)]
    save_deep(tmp_path / "thermal", np.array([[0, 65535]]), "000050.png")
    os.utime(tmp_path / "thermal", (1, 1))  # modified, also for file systems with coarse times
    assert read_image(tmp_path / "thermal" / "000049.png")[0, 1, 0] == round(3980 / 65535 * 255)


def test_constant_deep_gray_is_black(tmp_path):
    assert read_image(save_deep(tmp_path, np.full((2, 2), 9000))).tolist() == [[[0] * 3] * 2] * 2


def test_values_that_are_not_finite_are_rejected(tmp_path):
    path = save_deep(tmp_path, np.array([[1.0, np.nan]]), "a.tif", np.float32)
    with pytest.raises(ValueError, match=r"a\.tif: expected finite values, got NaN or infinity; replace them"):
        read_image(path)


def test_few_deep_images_among_others_are_rejected(tmp_path):
    for number in range(100):
        Image.new("L", (2, 2)).save(tmp_path / f"{number:06d}.png")
    path = save_deep(tmp_path, np.full((2, 2), 9000), "000050.png")
    with pytest.raises(ValueError, match="expected images of one bit depth, got few with more than 8 bits"):
        read_image(path)


def palette(transparency):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize("transparency", [None, 0, b"\0\x7f\xff\xff"])
def test_palettes(tmp_path, transparency):
    palette(transparency).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 8, 7]]]


@pytest.mark.parametrize(
    ("mode", "color", "name", "expected"),
    [
        ("RGBA", (10, 20, 30, 0), "a.png", (10, 20, 30)),
        ("LA", (77, 0), "a.png", (77, 77, 77)),
        ("CMYK", (255, 0, 0, 0), "a.jpg", (0, 255, 255)),
        ("1", 1, "a.png", (255, 255, 255)),
    ],
)
def test_color_modes(tmp_path, mode, color, name, expected):
    Image.new(mode, (4, 3), color).save(tmp_path / name)
    np.testing.assert_allclose(read_image(tmp_path / name)[1, 2], expected, atol=2)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, name, orientation):
    pixels = np.kron(np.random.default_rng(0).integers(0, 255, (3, 5, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / name), expected)
    assert expected.shape[:2] == ((48, 80) if orientation < 5 else (80, 48))
    if name in ("a.png", "a.jpg"):
        assert read_image_size(tmp_path / name) == expected.shape[:2]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("damage", [None, "value", "type", "cut", "header", "loop"])
def test_malformed_exif_is_ignored(tmp_path, order, damage):
    value = 9 if damage == "value" else 6
    entry = struct.pack(f"{order}HHIH", 0x0112, 4 if damage == "type" else 3, 1, value) + b"\0\0"
    directory = 2**31 if damage == "loop" else 8
    exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", directory, 1) + entry + bytes(4)
    exif = {"cut": exif[:14], "header": b"XX" + exif[2:]}.get(damage, exif)
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif)
    assert read_image_size(tmp_path / "a.jpg") == ((6, 8) if damage else (8, 6))
    assert read_image(tmp_path / "a.jpg").shape[:2] == ((6, 8) if damage else (8, 6))


def write_bomb(path, height=30_000, width=40_000):
    """Write a PNG that declares a size far beyond its content."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))


@pytest.mark.parametrize("height", [3_000, 30_000, 2**31 - 1])  # where Pillow warns, and where it refuses
@pytest.mark.parametrize("read", [read_image, read_image_size, read_depth])
def test_decompression_bombs(tmp_path, read, height):
    write_bomb(tmp_path / "a.png", height)
    with pytest.raises(ValueError, match=rf"a\.png: expected at most \d+ pixels, got 40000x{height}; scale it down"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_image_size, read_depth])
def test_pipes_folders_and_links(tmp_path, read):
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "2.png").mkdir()
    (tmp_path / "3.png").symlink_to("3.png")
    (tmp_path / "4.png").symlink_to("none.png")
    for number, found in enumerate(("a pipe", "a folder", r"something else \(Too many", "a link to a missing"), 1):
        with pytest.raises(ValueError, match=rf"{number}\.png: expected an? image file, got {found}"):
            read(tmp_path / f"{number}.png")


def test_duplicate_numbers_are_rejected(tmp_path):
    for name in ("000001.png", "1.png", "2.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"expected one image per frame, got 000001\.png and 1\.png for frame 1"):
        list_images(tmp_path)


def test_pictures_and_data_modules_read_the_same_pixels(tmp_path):
    """16-bit frames of a sequence, turned by EXIF, on every way to the user."""
    folder = SyntheticVideo(num_videos=1, num_frames=2, image_size=(48, 64), num_objects=(3, 3)).save(tmp_path, 0)
    exif = Image.Exif()
    exif[0x0112] = 3
    for number in (1, 2):
        values = (7000 + 100 * number + np.arange(48 * 64).reshape(48, 64) / 10).astype(np.uint16)
        Image.fromarray(values).save(folder / "img1" / f"{number:06d}.png", exif=exif)
    module = MOTDataModule(predict=tmp_path, benchmark="generic")
    (sequence,) = module.sequences("predict")
    frames = module.make_source("predict").read(0, [0, 1])
    for number, frame in enumerate(frames, 1):
        expected = read_image(folder / "img1" / f"{number:06d}.png")
        assert 0 < expected[0, 0, 0] > expected[-1, -1, 0]  # upside down
        np.testing.assert_array_equal(frame.image, expected)
        picture = TrackedFrames(sequence, sequence.ground_truth(), magnify=1)._background(number)
        np.testing.assert_array_equal(np.asarray(picture), expected)
