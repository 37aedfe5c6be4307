"""Images of every mode and orientation, whole and damaged, through the one reader of images."""

import io

import numpy as np
from PIL import Image, ImageOps

from fuzz.damage import damage_bytes, one_of, outcome
from mot_core.io.images import read_image, read_image_size

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"]
FORMATS = {"png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], "jpg": ["L", "RGB", "CMYK", "YCbCr"]}


def case(rng, folder):
    extension = one_of(rng, ["png", "jpg"])
    mode = one_of(rng, FORMATS[extension])
    height, width = int(rng.integers(1, 40)), int(rng.integers(1, 40))
    image = _image(rng, mode, height, width)
    orientation = int(rng.integers(1, 9)) if extension == "jpg" and rng.random() < 0.5 else 1
    options = {}
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "jpeg"}.get(extension, extension), **options)
    raw = buffer.getvalue()
    path = folder / f"000001.{extension}"
    path.write_bytes(raw)
    pixels, error = outcome(read_image, path)
    assert error is None, error
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    assert pixels.shape == (*expected.size[::-1], 3)
    assert pixels.dtype == np.uint8
    assert read_image_size(path) == pixels.shape[:2]
    if mode in ("1", "L", "RGB", "P"):
        np.testing.assert_array_equal(pixels, np.asarray(expected.convert("RGB")))
    elif mode == "I;16":
        deep = np.asarray(expected, np.float64)
        order = np.argsort(deep, axis=None)
        assert (np.diff(pixels[..., 0].ravel()[order].astype(int)) >= 0).all(), "brightness changed its order"
    path.write_bytes(damage_bytes(rng, raw))
    size, size_error = outcome(read_image_size, path)
    pixels, error = outcome(read_image, path)
    if error is None:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert size_error is not None or size == pixels.shape[:2]


def _image(rng, mode, height, width):
    if mode == "I;16":
        top = 2 ** int(rng.integers(1, 17))
        return Image.fromarray(rng.integers(0, top, (height, width)).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(rng.normal(0, 10, (height, width)).astype(np.float32))
    channels = {"L": None, "1": None, "P": 3, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3}[mode]
    shape = (height, width) if channels is None else (height, width, channels)
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    if mode == "P":
        return Image.fromarray(pixels).quantize(int(rng.integers(2, 64)))
    if mode == "1":
        return Image.fromarray(pixels).convert("1")
    return Image.fromarray(pixels, mode) if mode in ("CMYK", "YCbCr") else Image.fromarray(pixels)
