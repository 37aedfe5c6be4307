"""Pipes, folders, links and unreadable files where a regular file is expected: one sentence instead of a hang."""

import os

import pytest

from mot_core.cli import main
from mot_core.io import DataError, check, find_sequences, make_scene
from mot_core.io.problems import require_file

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

KINDS = {
    "a pipe or device": os.mkfifo if hasattr(os, "mkfifo") else None,
    "a folder": os.mkdir,
    "something else (Too many levels of symbolic links)": lambda path: os.symlink(path.name, path),
    "a link to a missing file": lambda path: os.symlink("none.txt", path),
}


@pytest.fixture(params=KINDS)
def special(request):
    """Return the kind of a file and a function that replaces a file by one of it."""

    def replace(path):
        path.unlink(missing_ok=True)
        KINDS[request.param](path)
        return path

    return request.param, replace


@pytest.fixture
def folder(tmp_path):
    return make_scene(num_objects=3, num_frames=10).save(tmp_path / "root", "street")


@pytest.mark.parametrize("name", ["det/det.txt", "gt/gt.txt", "gt/ignore.txt", "seqinfo.ini"])
def test_check_reports_the_file_and_the_rest(folder, special, name):
    kind, replace = special
    file = replace(folder / name)
    (folder / "det" / "other.txt").write_text("3,-1,0,0,0,5,0.5\n")
    problems = [problem for problem in check(folder, "generic").problems if problem.severity == "error"]
    assert [problem.message.partition(", ")[2] for problem in problems if problem.file == file] == [f"got {kind}"]
    assert [problem.line for problem in problems if problem.file == folder / "det" / "other.txt"] == [1]
    assert not check(folder, "generic").ok


@pytest.mark.parametrize("name", ["det/det.txt", "gt/gt.txt", "seqinfo.ini"])
def test_commands_name_the_file(folder, special, name, tmp_path, capsys):
    kind, replace = special
    file = replace(folder / name)
    output = tmp_path / "out"
    output.mkdir()
    (output / "street.txt").write_text("")
    track = f"track {folder} --benchmark generic --tracker sort --output {tmp_path / 'new'}"
    command = f"eval {output} --gt {folder} --benchmark generic" if name.startswith("gt") else track
    assert main(command.split()) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"mot: error: {file}: expected a ")
    assert kind in error
    assert error.count("\n") == 1


def test_kitti_labels(tmp_path, special):
    kind, replace = special
    (tmp_path / "label_02").mkdir()
    file = replace(tmp_path / "label_02" / "0000.txt")
    assert [(problem.file, problem.message) for problem in check(tmp_path).problems][-1] == (
        file, f"expected a KITTI ground-truth file, got {kind}",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["det", "gt", "img1"])
def test_folders_that_are_links_in_a_loop(tmp_path, folder, name):
    for part in ("det", "gt", "img1"):
        if part == name and (folder / part).exists():
            (folder / part).rename(tmp_path / part)
    (folder / name).symlink_to(name)
    (folder.parent / "loop").symlink_to("loop")
    (sequence,) = find_sequences(folder.parent, benchmark="generic")
    assert sequence.length == 10
    assert check(folder.parent, "generic").sequences[0].frames == 10


def test_output_that_is_a_link_in_a_loop(tmp_path, folder):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "street.txt").symlink_to("street.txt")
    assert main(f"track {folder} --benchmark generic --tracker sort --output {tmp_path / 'out'}".split()) == 0
    assert (tmp_path / "out" / "street.txt").is_file()


def test_file_without_permission(tmp_path, monkeypatch):
    (tmp_path / "gt.txt").write_text("")
    require_file(tmp_path / "gt.txt", "ground-truth")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"gt\.txt: expected a ground-truth file, got one without permission to read"):
        require_file(tmp_path / "gt.txt", "ground-truth")
