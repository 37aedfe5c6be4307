"""Video files that end before their header says so, down to the last frame."""

import av
import numpy as np
import pytest

from mot_core.streams.video_file import VideoFile
from mot_core.streams.video_file.container_size import is_cut_off

CODECS = {"avi": "ffv1", "mkv": "ffv1", "webm": "vp8", "mov": "mpeg4", "mp4": "mpeg4"}


def write(path, count=6):
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=10)
        stream.width, stream.height = 48, 32
        stream.pix_fmt = "bgr0" if stream.codec.name == "ffv1" else "yuv420p"
        for _ in range(count):
            frame = rng.integers(0, 256, (32, 48, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("extension", CODECS)
def test_every_cut_is_noticed(tmp_path, extension):
    path = write(tmp_path / f"clip.{extension}")
    raw = path.read_bytes()
    assert not is_cut_off(path)
    assert VideoFile(path).truncated is None
    for size in (len(raw) - 1, len(raw) // 2, 60):
        path.write_bytes(raw[:size])
        assert is_cut_off(path), size


def test_loss_of_the_last_frame_is_reported(tmp_path):
    path = write(tmp_path / "clip.mkv")
    with av.open(str(path)) as container:
        last = [packet.pos for packet in container.demux() if packet.size][-1]
    path.write_bytes(path.read_bytes()[:last])
    video = VideoFile(path)
    assert video.length == 5
    assert video.truncated == f"video {path} ends after 5 of 6 frames"


@pytest.mark.parametrize("extension", ["avi", "mkv"])
def test_loss_of_the_index_alone_is_no_loss(tmp_path, extension):
    path = write(tmp_path / f"clip.{extension}")
    path.write_bytes(path.read_bytes()[:-1])
    video = VideoFile(path)
    assert (video.length, video.truncated) == (6, None)
    for position in range(6):
        video.read(position)


def test_sizes_that_are_not_declared(tmp_path):
    """A recording that was not closed declares no size: it is read as far as it goes."""
    path = write(tmp_path / "clip.mkv")
    raw = bytearray(path.read_bytes())
    segment = raw.index(b"\x18\x53\x80\x67")
    raw[segment + 4 : segment + 12] = b"\x01" + b"\xff" * 7
    path.write_bytes(raw)
    assert not is_cut_off(path)
    path.write_bytes(b"RIFF\0\0\0\0AVI ")
    assert not is_cut_off(path)
    path.write_bytes(b"")
    assert not is_cut_off(path)
    path.write_bytes(b"\x00\x00\x00\x00mdat" + bytes(100))  # to the end of the file
    assert not is_cut_off(path)
