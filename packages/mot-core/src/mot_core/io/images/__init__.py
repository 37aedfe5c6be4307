"""Image files: listing numbered ones, reading their size from the header, and decoding their pixels."""

from mot_core.io.images.depth import DepthFormat, depth_file, read_depth, read_depth_format
from mot_core.io.images.header import MAX_PIXELS, read_image_size
from mot_core.io.images.listing import EXTENSIONS, ImageFiles, frame_numbers_of, list_images
from mot_core.io.images.pixels import pillow, read_image

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "DepthFormat",
    "ImageFiles",
    "depth_file",
    "frame_numbers_of",
    "list_images",
    "pillow",
    "read_depth",
    "read_depth_format",
    "read_image",
    "read_image_size",
]
