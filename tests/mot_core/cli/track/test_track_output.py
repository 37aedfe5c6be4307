"""Result files of `mot track`: write errors, interruption and repetition."""

from __future__ import annotations

import errno
import json
import os
import signal

import yaml

from mot_core.association import Sort
from mot_core.cli import main
from mot_core.cli.track import command as track
from mot_core.io import read_mot


def files(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_unwritable_output(mot, scenes, tmp_path):
    (tmp_path / "file").write_text("mine")
    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output")
    done = mot(*arguments, tmp_path / "file")
    assert done.code == 1
    assert str(tmp_path / "file") in done.err
    assert (tmp_path / "file").read_text() == "mine"
    done = mot(*arguments, tmp_path / "file" / "below")
    assert done.code == 1


def test_read_only_output(mot, scenes, tmp_path, monkeypatch):
    def fail(path, *_, **__):  # chmod has no effect for root, the user of many CI machines
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("mot_core.io.atomic._create", fail)
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path / "out")
    assert done.code == 1
    assert f"cannot write {tmp_path / 'out' / 'park.txt'}: Read-only file system" in done.err
    assert files(tmp_path / "out") == []


def test_failed_write_keeps_finished_sequences(mot, scenes, tmp_path, monkeypatch):
    (tmp_path / "street.txt").mkdir()  # blocks the result of the second sequence
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path)
    assert done.code == 1
    assert f"cannot write {tmp_path / 'street.txt'}: it is a folder" in done.err
    assert len(read_mot(tmp_path / "park.txt", kind="results"))
    assert list(yaml.safe_load((tmp_path / "run.yaml").read_text())["sequences"]) == ["park"]


class Interrupting(Sort):
    """Tracker that is interrupted in frame 20 of the second sequence."""

    frames = 0

    def update(self, *arguments, **options):
        Interrupting.frames += 1
        if Interrupting.frames == 60:
            raise KeyboardInterrupt
        return super().update(*arguments, **options)


def test_interruption_keeps_finished_sequences(mot, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(track, "load_tracker", lambda name: Interrupting)
    monkeypatch.setattr(Interrupting, "frames", 0)
    out = tmp_path / "out"
    out.mkdir()
    (out / "street.txt").write_text("1,1,0,0,9,9,1,-1,-1,-1\n")  # from an earlier run, to be kept
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", out)
    assert done.code == 130
    assert f"interrupted: 1 of 2 sequences are finished and kept in {out} (park)" in done.err
    assert files(out) == ["park.txt", "run.yaml", "street.txt"]
    assert (out / "street.txt").read_text() == "1,1,0,0,9,9,1,-1,-1,-1\n"
    assert read_mot(out / "park.txt", kind="results").frames[-1] == 40


class Terminated(Sort):
    def update(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().update(*arguments, **options)


def test_sigterm_cleans_up(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(track, "load_tracker", lambda name: Terminated)
    out = tmp_path / "out"
    command = ["mot", "track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", out]
    monkeypatch.setattr("sys.argv", [str(word) for word in command])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main() == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert list(out.iterdir()) == []


def test_second_run_replaces_results_and_reports_others(mot, scenes, tmp_path):
    arguments = ("track", "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path / "out")
    assert mot(*arguments, scenes).err == ""
    before = (tmp_path / "out" / "park.txt").read_text()
    done = mot(*arguments, scenes / "park", "--frames", "1-20")
    assert "also contains results of other runs" in done.err
    assert "street.txt" in done.err
    assert (tmp_path / "out" / "park.txt").read_text() != before


def test_table_as_json(mot, scenes, tmp_path):
    done = mot("track", scenes, "--tracker", "sort", "--output", tmp_path / "out", "--json", tmp_path / "table.json")
    assert done.code == 0
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [row["sequence"] for row in rows] == ["park", "street"]
    for row in rows:
        tracks = read_mot(tmp_path / "out" / f"{row['sequence']}.txt", kind="results")
        assert (row["frames"], row["tracks"]) == (40, len(set(tracks.ids.tolist())))
    piped = mot("track", scenes / "park", "--tracker", "sort", "--output", tmp_path / "one", "--json", "-")
    assert [row["sequence"] for row in json.loads(piped.out)] == ["park"]
