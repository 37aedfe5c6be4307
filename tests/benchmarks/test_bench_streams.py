import numpy as np
import pytest

from benchmarks.association.scenes import OBJECTS, make_scenes, memory_scene
from benchmarks.association.streams import Stream

FRAMES = 12


@pytest.fixture
def synthetic(monkeypatch):
    monkeypatch.delenv("MOT_DATA", raising=False)
    return make_scenes(FRAMES, whole=True)


def arrays(stream):
    return stream.boxes, stream.scores, stream.counts, stream.lengths


def test_stream_round_trip(tmp_path):
    box = [1.0, 2.0, 3.5, 4.0]
    stream = Stream.of([[([box], [0.5]), ([], [])], [], [([box, box], [0.25, 1.0])]])
    stream.save(tmp_path / "stream.npz")
    loaded = Stream.load(tmp_path / "stream.npz")
    first, none, last = loaded.sequences()
    assert [len(boxes) for boxes, _ in first] == [1, 0]
    assert none == []
    ((boxes, scores),) = last
    assert boxes.tolist() == [box, box]
    assert scores.tolist() == [0.25, 1.0]
    assert boxes.dtype == scores.dtype == np.float32
    assert loaded.density == 1.0


def test_scenes_are_deterministic(synthetic):
    for scene, again in zip(synthetic, make_scenes(FRAMES, whole=True), strict=True):
        for a, b in zip(arrays(scene.stream), arrays(again.stream), strict=True):
            np.testing.assert_array_equal(a, b)


def test_scene_densities(synthetic):
    assert [scene.name for scene in synthetic] == list(OBJECTS)
    for scene in synthetic:
        assert scene.stream.density == pytest.approx(int(scene.name), rel=0.15)
        assert [len(frames) for frames in scene.ground_truth] == scene.stream.lengths.tolist() == [FRAMES]
        assert "synthetic" in scene.description
    assert memory_scene(FRAMES).name in OBJECTS


def test_sparse_scene_uses_real_data(mot_data, monkeypatch):
    monkeypatch.setenv("MOT_DATA", str(mot_data))
    sparse = make_scenes(FRAMES, whole=False)[0]
    sequences = sorted(path for path in (mot_data / "MOT15" / "train").iterdir() if path.is_dir())
    assert sparse.stream.lengths.tolist() == [FRAMES] * len(sequences)
    # The first row of TUD-Campus's SORT detections; its ACF file begins with another box.
    row = np.loadtxt(mot_data / "MOT15/train/TUD-Campus/det/sort.txt", delimiter=",")[0]
    frames = list(sparse.stream.sequences())[[path.name for path in sequences].index("TUD-Campus")]
    np.testing.assert_allclose(frames[0][0][0], [*row[2:4], *(row[2:4] + row[4:6])], rtol=1e-6)
