"""Frame streams of folders and videos; batches equal those of the data module."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mot_core.data import Augmentation, MOTDataModule
from mot_core.data.stream import open_streams
from mot_core.data.video_file import VideoFile
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
    batches = [stream.batch(number, RESIZE) for stream in streams for number in stream.sequence.frame_numbers()]
    assert len(batches) == len(expected) == 16
    for one, other in zip(batches, expected, strict=True):
        assert_same_batch(one, other)


def test_names_and_numbers_of_a_plain_folder(save_image):
    for number, name in enumerate(("b10.jpg", "b9.png", "a.JPEG", "b9 (2).png")):
        path = save_image(f"trip/{name}", color=(20 * number,) * 3)
    (stream,) = open_streams(path.parent)
    assert stream.sequence.name == "trip"
    assert list(stream.sequence.frame_numbers()) == [1, 2, 3, 4]
    assert stream.sequence.image_size == (30, 40)
    assert [brightness(stream.image(number)) for number in (1, 2, 3, 4)] == [2, 3, 1, 0]
    batch = stream.batch(3)
    assert batch.times.tolist() == [[3]]
    assert batch.original_size.tolist() == [[30, 40]]


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
    assert stream.batch(2).times.item() == 2


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


def test_video_shorter_than_its_header_declares(tmp_path):
    video = VideoFile(write_grey(tmp_path / "grey.mp4"))
    video.length = video._next = 20
    assert brightness(video.read(11)) == 11
    with pytest.raises(EOFError, match="ends after 12 frames, but its header declares 20"):
        video.read(12)


def test_invalid_videos_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.mp4 does not exist"):
        VideoFile(tmp_path / "none.mp4")
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
    video = VideoFile(path)
    with pytest.raises(ValueError, match=r"grey\.mp4 cannot be decoded after frame 0"):
        video.read(5)


def test_missing_av_error_names_the_command(tmp_path, monkeypatch):
    path = write_grey(tmp_path / "grey.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"reading a video needs av.*packages/mot-core\[video\]"):
        VideoFile(path)


def test_batches_of_a_video(tmp_path):
    (stream,) = open_streams(write_grey(tmp_path / "grey.mp4"))
    batch = stream.batch(4, RESIZE)
    assert batch.sequences == ("grey",)
    assert batch.images.shape == (1, 1, 3, 30, 40)
    mean = torch.tensor([0.485, 0.456, 0.406])
    std = torch.tensor([0.229, 0.224, 0.225])
    grey = (batch.images[0, 0].mean((1, 2)) * std + mean) * 255
    assert torch.allclose(grey, torch.full((3,), 60.0), atol=3)
