"""One color per identity, identical in every frame, picture and run."""

from __future__ import annotations

import math
from functools import lru_cache

GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))
LIGHTNESS = (0.68, 0.56, 0.76, 0.48, 0.62)  # five levels, because with three the hue repeats 21 identities later
CHROMA = 0.17


@lru_cache(maxsize=4096)
def identity_color(identity: int) -> tuple[int, int, int]:
    """Color of an identity as (red, green, blue), each 0 to 255.

    Consecutive identities differ by the golden angle in hue and a step in lightness, in a perceptually uniform space
    (OKLab, B. Ottosson 2020), so that no color is too pale for paper or too dark for video.

    Args:
        identity: Identity number; -1 (no identity) is gray.

    >>> identity_color(1), identity_color(2), identity_color(-1)
    ((58, 138, 3), (147, 165, 255), (128, 128, 128))
    """
    if identity < 0:
        return 128, 128, 128
    angle = identity * GOLDEN_ANGLE
    return _oklab_to_rgb(LIGHTNESS[identity % len(LIGHTNESS)], CHROMA * math.cos(angle), CHROMA * math.sin(angle))


def text_color(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever is more readable on ``background``.

    >>> text_color((255, 230, 120)), text_color((20, 60, 120))
    ((0, 0, 0), (255, 255, 255))
    """
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _oklab_to_rgb(lightness: float, a: float, b: float) -> tuple[int, int, int]:
    """Convert OKLab to sRGB, clipped to its gamut. Constants: bottosson.github.io/posts/oklab."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    return _gamma(red), _gamma(green), _gamma(blue)


def _gamma(linear: float) -> int:
    linear = min(max(linear, 0.0), 1.0)
    encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * encoded)
