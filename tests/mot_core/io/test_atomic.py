"""Atomic files when processes are killed, run at the same time, or the disk is full."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from mot_core.io.atomic import atomic_path, open_atomic, remove_stale, save_atomic

WRITER = """
import sys, time
from mot_core.io.atomic import open_atomic
with open_atomic(sys.argv[1]) as file:
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_process(tmp_path):
    """A process that is writing ``out.txt``."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "out.txt")], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def write(path, text):
    with open_atomic(path) as file:
        file.write(text)


def test_files_of_a_killed_process_are_removed(tmp_path, other_process):
    write(tmp_path / "out.txt", "one")
    assert len(os.listdir(tmp_path)) == 2, "the file of a running process is kept"
    write(tmp_path / "other.txt", "")
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    write(tmp_path / "other.txt", "")
    assert len(os.listdir(tmp_path)) == 3, "files of other names are kept"
    write(tmp_path / "out.txt", "two")
    assert sorted(os.listdir(tmp_path)) == ["other.txt", "out.txt"]
    assert (tmp_path / "out.txt").read_text() == "two"


def test_stale_files_of_a_tree(tmp_path):
    (tmp_path / "version_0").mkdir()
    for name in (".last.ckpt.0123abcd.tmp", ".mine.tmp", "a.0123abcd.tmp", ".last.ckpt.0123ABCD.tmp"):
        (tmp_path / "version_0" / name).touch()
    with atomic_path(tmp_path / "version_0" / "x") as temporary:
        remove_stale(tmp_path, "version_*/**/.*.tmp")
        assert temporary.exists()
    assert sorted(os.listdir(tmp_path / "version_0")) == [".last.ckpt.0123ABCD.tmp", ".mine.tmp", "a.0123abcd.tmp", "x"]


def test_removal_between_creation_and_lock(tmp_path, monkeypatch):
    """A file that another process removes before it is locked is created again."""
    from mot_core.io import atomic

    lock, removed = atomic._lock, []

    def remove_first(handle, *, wait):
        if wait and not removed:
            removed.extend(tmp_path.glob(".*.tmp"))
            removed[0].unlink()
        return lock(handle, wait=wait)

    monkeypatch.setattr(atomic, "_lock", remove_first)
    write(tmp_path / "out.txt", "text")
    assert removed
    assert os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("locks", ["unsupported", "missing"])
def test_file_systems_and_platforms_without_locks(tmp_path, monkeypatch, locks):
    from mot_core.io import atomic

    (tmp_path / ".out.txt.0123abcd.tmp").touch()
    if locks == "missing":
        monkeypatch.setattr(atomic, "fcntl", None)
    else:

        def unsupported(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(atomic.fcntl, "flock", unsupported)
    write(tmp_path / "out.txt", "text")
    assert sorted(os.listdir(tmp_path)) == [".out.txt.0123abcd.tmp", "out.txt"], "may belong to a running process"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_full_disk_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_atomic({"a": torch.zeros(9)}, path)
    save, opened = torch.save, []

    def to_full_disk(content, file):
        with open("/dev/full", "wb") as full:
            opened.append(file)
            save(content, full)

    monkeypatch.setattr(torch, "save", to_full_disk)
    with pytest.raises(OSError, match="No space left on device on /") as caught:
        save_atomic({"a": torch.zeros(10_000)}, path)
    assert opened
    sentence = str(caught.value)
    assert sentence.startswith(f"cannot write {path}: No space left on device on ")
    disk = sentence.split(" on ")[2].split(" (")[0]
    assert os.path.ismount(disk)
    assert os.stat(disk).st_dev == os.stat(tmp_path).st_dev
    assert "the earlier file is unchanged; free space there" in sentence
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert torch.load(path, weights_only=True)["a"].shape == (9,)


def test_full_disk_when_the_file_is_created(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mot_core.io.atomic.os.open", full)
    with pytest.raises(OSError, match=r"cannot write .*out\.txt: No space left on device on /.*MB free\); free space"):
        write(tmp_path / "out.txt", "")


def test_full_disk_of_another_file_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(OSError, match="'/elsewhere'") as caught, atomic_path(tmp_path / "out.txt"):
        raise OSError(28, "No space left on device", "/elsewhere")
    assert "cannot write" not in str(caught.value)
