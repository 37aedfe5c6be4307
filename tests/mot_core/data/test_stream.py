"""Frame streams of folders and videos; batches equal those of the data module."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mot_core.data import Augmentation, MOTDataModule
from mot_core.data.stream import frame_batch
from mot_core.streams import open_streams
from mot_core.streams.video_file import TruncatedVideoError, VideoFile
from mot_core.visualization import write_video

RESIZE = Augmentation(short_sides=(30,), max_long_side=100)


def write_grey(path, count=12, size=(64, 48)):
    """Write a video with frame ``n`` in gray of brightness ``20 n``."""
    return write_video(path, (Image.new("RGB", size, (20 * n,) * 3) for n in range(count)), 10)


def brightness(image):
    return round(float(image.mean()) / 20)


def test_batches_equal_those_of_the_data_module(video_root, assert_same_batch):
    module = MOTDataModule(predict=video_root, benchmark="generic", resize=RESIZE)
    expected = list(module.predict_dataloader())
    streams = open_streams(video_root)
    batches = [frame_batch(stream, number, RESIZE) for stream in streams for number in stream.sequence.frame_numbers()]
    assert len(batches) == len(expected) == 16
    for one, other in zip(batches, expected, strict=True):
        assert_same_batch(one, other)


def test_names_and_numbers_of_a_plain_folder(save_image):
    for number, name in enumerate(("b10.jpg", "b9.png", "a.JPEG", "b9 (2).png")):
        path = save_image(f"trip/{name}", color=(20 * number,) * 3)
    (stream,) = open_streams(path.parent)
    assert "trip: frames are numbered from 1 in the order of the names, which do not hold" in stream.note
    assert stream.sequence.name == "trip"
    assert list(stream.sequence.frame_numbers()) == [1, 2, 3, 4]
    assert stream.sequence.image_size == (30, 40)
    assert [brightness(stream.image(number)) for number in (1, 2, 3, 4)] == [2, 3, 1, 0]
    batch = frame_batch(stream, 3)
    assert batch.times.tolist() == [[3]]
    assert batch.original_size.tolist() == [[30, 40]]


@pytest.mark.parametrize("pattern", ["{}.png", "{:06d}.png", "shot{}.png", "take 2, {:04d} (left).png"])
def test_frames_of_a_plain_folder_keep_their_numbers(save_image, pattern):
    for number in (9, 7, 10, 12):
        path = save_image("trip/" + pattern.format(number), color=(20 * number,) * 3)
    (stream,) = open_streams(path.parent)
    assert stream.sequence.frame_numbers() == range(7, 13)
    assert stream.sequence.present_numbers() == (7, 9, 10, 12)
    assert [brightness(stream.image(number)) for number in (7, 9, 10, 12)] == [7, 9, 10, 12]
    assert stream.note.endswith("trip: 2 of the frames 7-12 have no image, the first is 8; they are left out")
    (part,) = open_streams(path.parent, part=lambda whole: whole.window(9, 10))
    assert (part.sequence.present_numbers(), part.note) == ((9, 10), None)
    with pytest.raises(ValueError, match="none of the frames 11-11 of trip exists"):
        open_streams(path.parent, part=lambda whole: whole.window(11, 11))


def test_wide_gaps_of_a_plain_folder(save_image):
    for number in (1, 2, 900_000):
        path = save_image(f"trip/{number}.png")
    (stream,) = open_streams(path.parent)
    assert stream.sequence.present_numbers() == (1, 2, 900_000)
    assert "899997 of the frames 1-900000 have no image, the first is 3" in stream.note


def test_frames_of_a_plain_folder_from_zero(save_image):
    for number in range(3):
        path = save_image(f"trip/{number:03d}.png", color=(20 * number,) * 3)
    (stream,) = open_streams(path.parent)
    assert stream.sequence.present_numbers() == range(1, 4)
    assert brightness(stream.image(3)) == 2
    assert stream.note.endswith("trip: frames are numbered from 1, so the frame of 000.png is 1")


def test_time_stamps_are_no_frame_numbers(save_image):
    for number in range(3):
        path = save_image(f"trip/{1_700_000_000_000 + 33 * number}.png", color=(20 * number,) * 3)
    (stream,) = open_streams(path.parent)
    assert stream.sequence.present_numbers() == range(1, 4)
    assert brightness(stream.image(3)) == 2


@pytest.mark.parametrize("names", [("1.png", "000001.png"), ("1.png", "1.jpg"), ("f_01.png", "f_1.png")])
def test_duplicate_frames_of_a_plain_folder(save_image, names):
    for name in names:
        path = save_image(f"trip/{name}")
    with pytest.raises(ValueError, match=r"trip: expected one image per frame, got .* for frame 1; remove one of them"):
        open_streams(path.parent)


def test_benchmark_is_inferred_from_names_or_generic(video_folder):
    assert [one.sequence.benchmark for one in open_streams(video_folder)] == ["generic"]
    renamed = video_folder.rename(video_folder.parent / "MOT17-02-FRCNN")
    assert [one.sequence.benchmark for one in open_streams(renamed)] == ["MOT17"]
    assert [one.sequence.benchmark for one in open_streams(renamed, "DanceTrack")] == ["DanceTrack"]
    with pytest.raises(ValueError, match="is not in the layout of KITTI"):
        open_streams(renamed, "KITTI")


def test_only_images_of_the_window_are_needed(video_folder):
    (video_folder / "img1" / "000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"000001\.png is missing"):
        open_streams(video_folder)
    (stream,) = open_streams(video_folder, part=lambda whole: whole.window(2, 4))
    assert list(stream.sequence.frame_numbers()) == [2, 3, 4]
    assert frame_batch(stream, 2).times.item() == 2


def test_windows_of_plain_folders_and_videos(save_image, tmp_path):
    for number in range(5):
        path = save_image(f"trip/{number}.png", color=(20 * number,) * 3)
    for source, first in ((path.parent, 0), (write_grey(tmp_path / "v.mp4"), 0)):
        (stream,) = open_streams(source, part=lambda whole: whole.window(3, 4))
        assert list(stream.sequence.frame_numbers()) == [3, 4]
        assert [brightness(stream.image(number)) - first for number in (3, 4)] == [2, 3]


@pytest.mark.parametrize("suffix", [".mp4", ".MOV", ".mkv", ".avi"])
def test_video_properties_and_frames(tmp_path, suffix):
    path = tmp_path / f"grey{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(12):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48), (20 * n,) * 3))))
        container.mux(stream.encode())
    video = VideoFile(path)
    assert (video.length, video.image_size) == (12, (48, 64))
    assert video.frame_rate == pytest.approx(10, rel=0.01)
    assert [brightness(video.read(position)) for position in range(12)] == list(range(12))


def test_random_access(tmp_path):
    video = VideoFile(write_grey(tmp_path / "grey.mp4"))
    order = [5, 5, 2, 11, 0, 11, 11, 3, 4]
    assert [brightness(video.read(position)) for position in order] == order
    for position in (-1, 12):
        with pytest.raises(IndexError, match=f"expected a frame below 12, got {position}"):
            video.read(position)


def test_sequential_reading_decodes_once(tmp_path, monkeypatch):
    opened = []
    original = VideoFile._decode
    monkeypatch.setattr(VideoFile, "_decode", lambda self: opened.append(1) or original(self))
    video = VideoFile(write_grey(tmp_path / "grey.mp4"))
    for position in (0, 1, 1, 2, 5, 11):
        video.read(position)
    assert len(opened) == 1


def test_packets_without_frames_are_no_truncation(tmp_path):
    video = VideoFile(write_grey(tmp_path / "grey.mp4"))
    video.length = video._next = 20
    assert brightness(video.read(11)) == 11
    with pytest.raises(EOFError, match="ends after 12 frames, as 8 packets hold none") as raised:
        video.read(12)
    assert not isinstance(raised.value, TruncatedVideoError)
    assert video.truncated is None


def write_noise(path, codec, count=20, sound=False, options=None, interval=lambda n: n):
    """Write a video of noise, in which every frame takes about the same space, at 10 frames per second."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 10)
        audio = container.add_stream("pcm_s16le", rate=8000) if sound else None
        for n in range(count):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts = interval(n)
            container.mux(stream.encode(frame))
            if audio is not None:
                wave = av.AudioFrame.from_ndarray(np.zeros((1, 1200), np.int16), layout="mono")  # longer than the video
                wave.rate = 8000
                container.mux(audio.encode(wave))
        container.mux(stream.encode())
    return path


CONTAINERS = [
    ("avi", "mpeg4", None),
    ("avi", "libx264", None),
    ("mkv", "mpeg4", None),
    ("mkv", "libx264", None),
    ("webm", "libvpx", None),
    ("mp4", "libx264", {"movflags": "faststart"}),
    ("mov", "mpeg4", {"movflags": "faststart"}),
]


@pytest.mark.parametrize(("suffix", "codec", "options"), CONTAINERS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_videos_that_are_cut_off(tmp_path, suffix, codec, options, share):
    path = write_noise(tmp_path / f"noise.{suffix}", codec, options=options)
    whole = VideoFile(path)
    assert (whole.length, whole.truncated, whole.read(19).shape) == (20, None, (48, 64, 3))
    assert whole.truncated is None
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    video = VideoFile(path)
    assert 20 * share - 4 < video.length < 20 * share + 1
    assert f"noise.{suffix} ends after {video.length} of 20 frames" in video.truncated
    decoded = 0
    with suppress(TruncatedVideoError):
        for position in range(video.length):
            video.read(position)
            decoded += 1
    assert decoded > 20 * share - 4
    assert f"after {decoded} of 20 frames" in video.truncated


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mov"])
def test_sound_is_part_of_the_duration(tmp_path, suffix):
    path = write_noise(tmp_path / f"noise.{suffix}", "mpeg4", sound=True, options={"movflags": "faststart"})
    assert VideoFile(path).truncated is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "of 20 frames" in VideoFile(path).truncated


def test_metadata_in_another_encoding(tmp_path):
    path = tmp_path / "grey.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Strasse"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"Strasse", b"Stra\xdfen"))
    assert VideoFile(path).length == 1


def test_variable_frame_rate_is_no_truncation(tmp_path):
    path = write_noise(tmp_path / "noise.mkv", "mpeg4", interval=lambda n: n if n < 15 else 15 + 20 * (n - 15))
    assert VideoFile(path).length == 20
    assert VideoFile(path).truncated is None


@pytest.mark.parametrize("angle", [90, 180, 270, -90, 0])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_rotation_is_applied(tmp_path, angle, suffix):
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = 200  # the upper left quarter is bright
    with av.open(str(tmp_path / f"turned.{suffix}"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stored = np.ascontiguousarray(np.rot90(upright, -angle // 90))
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(angle)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    (frames,) = open_streams(tmp_path / f"turned.{suffix}")
    assert frames.sequence.image_size == (48, 64)
    for number in (1, 3):
        np.testing.assert_allclose(frames.image(number).astype(int), upright, atol=40)
    assert frame_batch(frames, 2).images.shape == (1, 1, 3, 48, 64)


def test_other_rotations_are_rejected(tmp_path):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(30)
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48)))))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"turned\.mp4: expected a rotation by a multiple of 90 degrees, got 29"):
        VideoFile(path)


def test_invalid_videos_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no video file .*none\.mp4"):
        VideoFile(tmp_path / "none.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match=r"pipe\.mp4: expected a video file, got a pipe or device"):
        open_streams(tmp_path / "pipe.mp4")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4: expected a readable video \(\.mp4, "):
        VideoFile(tmp_path / "text.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"sound\.mkv: expected a video stream"):
        VideoFile(tmp_path / "sound.mkv")


def test_damaged_frames_are_reported(tmp_path):
    path = write_grey(tmp_path / "grey.mp4", count=40)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for begin, size in packets:  # coded frames, but not the index
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"grey\.mp4 cannot be decoded after frame 0"):
        VideoFile(path)


def test_missing_av_error_names_the_command(tmp_path, monkeypatch):
    path = write_grey(tmp_path / "grey.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"reading a video needs av.*packages/mot-core\[video\]"):
        VideoFile(path)


def test_batches_of_a_video(tmp_path):
    (stream,) = open_streams(write_grey(tmp_path / "grey.mp4"))
    batch = frame_batch(stream, 4, RESIZE)
    assert batch.sequences == ("grey",)
    assert batch.images.shape == (1, 1, 3, 30, 40)
    mean = torch.tensor([0.485, 0.456, 0.406])
    std = torch.tensor([0.229, 0.224, 0.225])
    grey = (batch.images[0, 0].mean((1, 2)) * std + mean) * 255
    assert torch.allclose(grey, torch.full((3,), 60.0), atol=3)
