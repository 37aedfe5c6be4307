"""`mot track` with a trained tracker on videos, complete and cut off."""

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from _helpers.trackers.image_toy import predicted, table
from mot_core.streams.video_file import VideoFile
from mot_core.visualization import write_video


def test_video_file(toy, videos, checkpoint, tmp_path):
    names = sorted((videos / "synthetic-train-4-0" / "img1").iterdir())
    pictures = [Image.open(name).convert("RGB") for name in names]
    write_video(tmp_path / "street.mp4", pictures, 12)
    done = toy(tmp_path / "street.mp4", "--video")
    assert (done.code, done.err) == (0, "")
    rows = table(tmp_path / "out" / "street.txt")
    # The decoded frames, as files.
    folder = tmp_path / "decoded" / "street" / "img1"
    folder.mkdir(parents=True)
    with av.open(str(tmp_path / "street.mp4")) as video:
        for number, frame in enumerate(video.decode(video=0), 1):
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(folder / f"{number:06d}.png")
    np.testing.assert_allclose(rows, predicted(checkpoint, tmp_path / "decoded")["street"], atol=1e-4)
    with av.open(str(tmp_path / "out" / "street.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.frames, float(stream.average_rate)) == (7, 12.0)
        shown = next(video.decode(video=0)).to_ndarray(format="rgb24")
    assert shown.std() > 20  # a picture rather than an empty canvas


@pytest.mark.parametrize("arguments", [[], ["--allow-truncated"], ["--frames", "1-3"]])
def test_video_that_is_cut_off(toy, videos, tmp_path, arguments):
    rng = np.random.default_rng(0)
    path = tmp_path / "street.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        for _ in range(20):
            noise = rng.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    done = toy(path, "--video", *arguments)
    assert done.code == (0 if arguments else 1)
    sentence = "street.mkv ends after 6 of 20 frames"
    remedy = "their tracks are written; copy the file again, or accept it with --allow-truncated"
    last = 6
    if "--frames" in arguments:
        assert done.err == ""
        last = 3
    elif arguments:
        assert done.err == f"mot: note: video {tmp_path}/{sentence}\n"
    else:
        assert done.err == f"mot: error: video {tmp_path}/{sentence}; {remedy}\n"
    assert np.unique(table(tmp_path / "out" / "street.txt")[:, 0]).tolist() == [*range(1, last + 1)]
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["sequences"]["street"]
    assert record["frames"] == f"1-{last}"
    assert ("truncated" in record) == (last == 6)


def test_damaged_video_keeps_its_tracks(toy, videos, tmp_path):
    names = sorted((videos / "synthetic-train-4-0/img1").iterdir())
    path = write_video(tmp_path / "street.mp4", [Image.open(name).convert("RGB") for name in names * 6], 12)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for begin, size in packets[30:]:
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    done = toy(path)
    assert done.code == 1
    assert "their tracks are written; copy the file again" in done.err
    last = int(table(tmp_path / "out" / "street.txt")[-1, 0])
    assert 5 < last <= 30
    assert f"after {last} of 42 frames" in done.err or f"after frame {last} (" in done.err


def test_video_that_ends_early(toy, videos, tmp_path, monkeypatch):
    pictures = [Image.open(name).convert("RGB") for name in sorted((videos / "synthetic-train-4-0/img1").iterdir())]
    write_video(tmp_path / "street.mp4", pictures, 12)
    original = VideoFile.__init__

    def longer(self, path):  # as if two packets held no frame
        original(self, path)
        self.length = self._next = 9

    monkeypatch.setattr(VideoFile, "__init__", longer)
    done = toy(tmp_path / "street.mp4", "--video")
    assert done.code == 0
    assert "ends after 7 frames, as 2 packets hold none" in done.err
    assert table(tmp_path / "out" / "street.txt")[-1, 0] == 7
    assert yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["sequences"]["street"]["frames"] == "1-7"
