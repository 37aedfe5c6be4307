"""Image files: listing numbered ones, reading their size from the header, and decoding their pixels."""

from mot_core.io.images.header import MAX_PIXELS, read_image_size
from mot_core.io.images.listing import EXTENSIONS, ImageFiles, frame_numbers_of, list_images
from mot_core.io.images.pixels import pillow, read_depth, read_image

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "ImageFiles",
    "frame_numbers_of",
    "list_images",
    "pillow",
    "read_depth",
    "read_image",
    "read_image_size",
]
