"""Videos of tracks, encoded with PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_core.extras import require
from mot_core.io.atomic import atomic_path
from mot_core.visualization.frames import Images, TrackedFrames

if TYPE_CHECKING:
    from PIL import Image

    from mot_core.io import BoxTable, Sequence

DEFAULT_FRAME_RATE = 25.0
# H.264 plays everywhere; FFmpeg builds without it have the older MPEG-4.
CODECS = [("libx264", {"crf": "23", "preset": "veryfast"}), ("mpeg4", {"b": "8000000"})]


def save_video(
    sequence: Sequence,
    tracks: BoxTable,
    path: str | Path,
    *,
    on_frame: Callable[[], object] = lambda: None,
    images: Images | None = None,
) -> Path:
    """Save an mp4 of all frames of ``sequence`` with ``tracks`` drawn on them, on a plain canvas without images.

    Args:
        sequence: Sequence with the images, frame numbers and frame rate.
        tracks: Rows of a result or of a ground truth.
        path: Output file, replaced only once it is complete.
        on_frame: Function called after every frame, for a progress bar.
        images: Function that reads the frame with a given number, ``(H, W, 3)`` uint8, if frames are not files.

    Returns:
        Path of the written file.

    Raises:
        ModuleNotFoundError: If the extra ``[video]`` is missing.

    >>> import tempfile
    >>> from mot_core.io import find_sequences, make_scene
    >>> scene = make_scene(num_objects=3, num_frames=20, image_size=(120, 200))
    >>> folder = scene.save(tempfile.mkdtemp(), "crossing")
    >>> (sequence,) = find_sequences(folder, benchmark="generic")
    >>> path = save_video(sequence, scene.ground_truth, folder / "tracks.mp4")
    >>> import av
    >>> with av.open(str(path)) as video:
    ...     video.streams.video[0].frames
    20
    """
    require("video", "drawing a video")
    frames = TrackedFrames(sequence, tracks, images=images)

    def pictures() -> Iterator[Image.Image]:
        for number in sequence.present_numbers():
            yield frames.draw(number)
            on_frame()

    return write_video(path, pictures(), sequence.frame_rate or DEFAULT_FRAME_RATE)


def write_video(path: str | Path, pictures: Iterable[Image.Image], frame_rate: float) -> Path:
    """Encode ``pictures``, all of one even size, as H.264 (or MPEG-4 if FFmpeg was built without it).

    Args:
        path: Output file, replaced only once it is complete.
        pictures: RGB images; only one is held in memory at a time.
        frame_rate: Frames per second.

    Returns:
        Path of the written file.

    Raises:
        ModuleNotFoundError: If the extra ``[video]`` is missing.
        ValueError: If there are no pictures.

    >>> import tempfile
    >>> from PIL import Image
    >>> pictures = (Image.new("RGB", (64, 48), (10 * step, 0, 0)) for step in range(6))
    >>> path = write_video(Path(tempfile.mkdtemp()) / "red.mp4", pictures, frame_rate=12)
    >>> import av
    >>> with av.open(str(path)) as video:
    ...     video.streams.video[0].frames, float(video.streams.video[0].average_rate)
    (6, 12.0)
    """
    require("video", "drawing a video")
    import av

    codec, options = next(choice for choice in CODECS if choice[0] in av.codecs_available)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(frame_rate).limit_denominator(1001), options=options)
                stream.width, stream.height = picture.size
                stream.pix_fmt = "yuv420p"  # supported by every player
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        if stream is None:
            raise ValueError(f"{path}: expected at least one frame for a video, got none")
        container.mux(stream.encode())
    return Path(path)
