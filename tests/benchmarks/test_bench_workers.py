import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import environments
from benchmarks.association import speed as association
from benchmarks.association.quality import score
from benchmarks.association.scenes import memory_scene
from benchmarks.association.workers import Worker, WorkerError
from benchmarks.environments import PEERS
from mot_core.association import ByteTrack


@pytest.fixture(scope="module")
def scene():
    return memory_scene(40)


@pytest.fixture
def stream(scene, tmp_path):
    scene.stream.save(tmp_path / "stream.npz")
    return tmp_path / "stream.npz"


def test_worker_runs_mot_core_trackers(scene, stream, tmp_path):
    found = tmp_path / "found.npz"
    with Worker("mot_core", Path(sys.executable)) as worker:
        assert set(worker.about["trackers"]) == {"SORT", "ByteTrack", "ByteTrack, tensors", "OC-SORT"}
        assert worker.about["trackers"]["ByteTrack"]["max_age"] == "30"
        assert worker.about["versions"]["mot-core"]
        answers = {}
        for tracker in ("ByteTrack", "ByteTrack, tensors"):
            worker.run("track", tracker, stream, output=str(found))
            with np.load(found) as file:
                answers[tracker] = dict(file)
        scores = score(scene, found)
        times = worker.run("time", "ByteTrack", stream)
        memory = worker.run("memory", "ByteTrack", stream, settled=4)

    tracker = ByteTrack()
    (frames,) = scene.stream.sequences()
    tracks = [tracker.update(*frame) for frame in frames]
    for answer in answers.values():
        assert answer["counts"].tolist() == [len(t) for t in tracks]
        np.testing.assert_array_equal(answer["ids"], np.concatenate([t.ids for t in tracks]))
        np.testing.assert_allclose(answer["boxes"], np.concatenate([t.boxes_xyxy for t in tracks]), rtol=1e-6)
    assert scores["HOTA"] > 50
    assert times["frames_per_second"] > 0
    assert 0 < times["p50_ms"] <= times["p95_ms"]
    assert memory["peak_mib"] > 10


def test_start_error_of_a_worker():
    with pytest.raises(WorkerError, match=r"No module named 'benchmarks\.peers\.nobody'"):
        Worker("nobody", Path(sys.executable))


def test_run_error_of_a_worker(stream):
    with Worker("mot_core", Path(sys.executable)) as worker, pytest.raises(WorkerError, match="KeyError: 'FastTrack'"):
        worker.run("time", "FastTrack", stream)


@pytest.mark.parametrize("peer", association.PEERS)
def test_peers_are_pinned(peer):
    assert (PEERS / f"{peer}.py").is_file()
    requirements = (PEERS / f"{peer}.txt").read_text().split("\n")
    assert any(re.fullmatch(r"[a-z]+==\d+(\.\d+)+", line) for line in requirements)


@pytest.mark.slow
def test_installation_error_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path / "environments")
    (tmp_path / "nobody.txt").write_text("./no-such-folder\n")
    assert "no-such-folder" in environments.install("nobody")
    assert not environments.python_of("nobody").exists()
