"""Network streams on a local server: a video file, a camera that drops, and sources that cannot be opened."""

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from mot_core.streams import LiveStream, is_live, live

av = pytest.importorskip("av")
JPEGS = 6


def jpeg(level):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (level, level, level)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def server(tmp_path):
    """Serve `/street.mkv`, a file, and `/camera`, which sends six frames twice and then refuses."""
    pictures = [Image.new("RGB", (64, 48), (40 * step, 0, 0)) for step in range(5)]
    with av.open(str(tmp_path / "street.mkv"), "w") as container:  # readable without jumping within the file
        stream = container.add_stream("mpeg4", rate=10, options={"b": "4000000"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    video = (tmp_path / "street.mkv").read_bytes()
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            calls.append(path)
            if path == "/street.mkv":
                self.send_response(200)
                self.send_header("Content-Length", str(len(video)))
                self.end_headers()
                self.wfile.write(video)
            elif path == "/camera" and calls.count("/camera") <= 2:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for step in range(JPEGS):
                    data = jpeg(20 * step)
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
            else:
                self.send_error(503)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_a_video_file_ends_and_has_its_own_times(server):
    source = LiveStream(f"{server}/street.mkv?token=secret", pytest.fail)
    frames = list(source.frames())
    assert source.name == "street"
    assert [frame.number for frame in frames] == [1, 2, 3, 4, 5]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert frames[4].image[24, 32, 0] == pytest.approx(160, abs=6)


def test_a_camera_that_drops_is_connected_again(server, monkeypatch):
    monkeypatch.setattr(live, "PAUSES", (0.05, 0.05))
    sentences = []
    source = LiveStream(f"{server}/camera", sentences.append)
    frames = list(source.frames())
    numbers, seconds = [frame.number for frame in frames], [frame.seconds for frame in frames]
    assert numbers == list(range(1, len(frames) + 1))
    assert len(frames) >= 2 * (JPEGS - 1)  # the last one of a connection may be incomplete
    assert (np.diff(seconds) > 0).all()
    assert seconds[0] == 0
    assert max(np.diff(seconds)) >= 0.05  # the pause
    assert "connecting again" in sentences[0]
    assert "gave up after 2 attempts" in sentences[-1]


def test_sources_that_cannot_be_opened(server, tmp_path):
    for source in (f"{server}/away", "http://127.0.0.1:9/street.mkv"):
        with pytest.raises(ValueError, match=f"{source}: expected a readable video, got .* after frame 0; check the"):
            list(LiveStream(source).frames())
    with pytest.raises(ValueError, match="99: expected a readable video"):
        list(LiveStream("99").frames())


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rtsp://user:password@10.0.0.2:554/hall", "hall"),
        ("rtsp://10.0.0.2", "10.0.0.2"),
        ("0", "camera0"),
        (3, "camera3"),
        ("http://server/a%20b.m3u8", "a_20b"),
    ],
)
def test_names_of_results_hold_no_password(source, name):
    assert is_live(source)
    assert LiveStream(source).name == name
    assert LiveStream(source).source == str(source)


def test_paths_are_not_live():
    assert not any(map(is_live, ["street.mkv", "a/b", "C:\\videos\\a.mp4", "0.mp4"]))
