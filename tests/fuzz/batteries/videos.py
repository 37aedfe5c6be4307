"""Videos in several containers, whole, cut off and damaged: frames are equal, or the loss is reported."""

import av
import numpy as np

from fuzz.damage import damage_bytes, one_of, outcome
from mot_core.streams.video_file import TruncatedVideoError, VideoFile

LOSSLESS = {"avi": "ffv1", "mkv": "ffv1", "mp4": "mpeg4", "mov": "mpeg4"}


def case(rng, folder):
    extension = one_of(rng, list(LOSSLESS))
    count, side = int(rng.integers(1, 25)), 16 * int(rng.integers(2, 5))
    frames = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    path = folder / f"video.{extension}"
    _write(path, frames, LOSSLESS[extension], rate=int(rng.integers(5, 60)))
    read, complete = _read(path)
    assert complete
    assert len(read) == count
    assert all(image.shape == (side, side, 3) for image in read)
    if LOSSLESS[extension] == "ffv1":
        for image, frame in zip(read, frames, strict=True):
            assert np.abs(image.astype(int) - frame).max() <= 3  # conversion from RGB
    raw = path.read_bytes()
    if rng.random() < 0.6:
        path.write_bytes(raw[: int(rng.integers(len(raw)))])
        result, error = outcome(_read, path)
        if error is None:
            fewer, complete = result
            # A cut in the last packet of an index does not lose a frame.
            assert len(fewer) == count or not complete, f"{len(fewer)} of {count} frames, and no word"
    else:
        path.write_bytes(damage_bytes(rng, raw))
        outcome(_read, path)


def _write(path, frames, codec, rate):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def _read(path):
    """Return all frames, and whether the video ended where it should."""
    video = VideoFile(path)
    frames = []
    for position in range(video.length):
        try:
            frames.append(video.read(position))
        except TruncatedVideoError:  # noqa: PERF203
            return frames, False
        except EOFError:
            break
    return frames, video.truncated is None
