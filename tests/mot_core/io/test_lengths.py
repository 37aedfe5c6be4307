"""Lengths far beyond the content of a sequence are rejected; sparse sequences are not."""

import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from mot_core.cli import main
from mot_core.data import MOTDataModule
from mot_core.io import BoxTable, check, find_sequences
from mot_core.io.lengths import GAP_PER_FRAME, LONGEST_GAP, check_length, missing_frames

ABSURD = 999_999_998


def make(root, frames, *, ini=None, images=(), truth=True):
    """Write a sequence with one box in each of the frames."""
    folder = root / "street"
    (folder / "det").mkdir(parents=True)
    (folder / "det" / "det.txt").write_text("".join(f"{frame},-1,10,10,20,20,0.9\n" for frame in frames))
    if truth:
        (folder / "gt").mkdir()
        (folder / "gt" / "gt.txt").write_text("".join(f"{frame},1,10,10,20,20,1,1,1\n" for frame in frames))
    if ini:
        (folder / "seqinfo.ini").write_text(f"[Sequence]\nseqLength={ini}\nimWidth=64\nimHeight=48\n")
    for number in images:
        (folder / "img1").mkdir(exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / "img1" / f"{number:06d}.jpg")
    return folder


def tables(*frames):
    return lambda: [BoxTable(list(frames), [1] * len(frames), np.ones((len(frames), 4)))]


def test_absurd_seq_length(tmp_path, capsys):
    folder = make(tmp_path, [1, 2, 3], ini=ABSURD, images=[1, 2, 3])
    message = rf"seqinfo\.ini: expected a length near the last frame with an image or a box, which is 3, got {ABSURD} "
    start = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        find_sequences(tmp_path, benchmark="generic")
    with pytest.raises(ValueError, match=message):
        MOTDataModule(train=tmp_path, benchmark="generic").train_dataloader()
    problems = [problem for problem in check(tmp_path, "generic").problems if problem.severity == "error"]
    assert [(problem.file, problem.kind) for problem in problems] == [(folder / "seqinfo.ini", "length")]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "street.txt").write_text("")
    for command in ("track {0} --tracker sort --output {0}/out", "eval {0}/results --gt {0}", "data check {0}"):
        assert main([*command.format(tmp_path).split(), "--benchmark", "generic"]) == 1
        printed = capsys.readouterr()
        assert f"got {ABSURD} frames; correct the length" in printed.err + printed.out
    assert not (tmp_path / "out").exists()
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("name", ["det/det.txt", "gt/gt.txt"])
def test_mistyped_frame_number_without_seqinfo(tmp_path, name):
    folder = make(tmp_path, range(1, 30))
    file = folder / name
    file.write_text(file.read_text().replace("\n12,", "\n30000012,"))
    with pytest.raises(ValueError, match=rf"{name}:12: expected a frame number near the one before, which is 29, got"):
        find_sequences(folder, benchmark="generic")
    assert ("error", file, 12, "length") in [
        (problem.severity, problem.file, problem.line, problem.kind) for problem in check(folder, "generic").problems
    ]


def test_ground_truth_is_not_opened_for_the_length(tmp_path):
    folder = make(tmp_path, [1, 2, 3], ini=2_000_000)
    (folder / "gt" / "gt.txt").write_text("2000000,1,10,10,20,20,1,1,1\n1000000,1,10,10,20,20,1,1,1\n")
    assert find_sequences(folder, benchmark="generic")[0].length == 2_000_000
    with pytest.raises(ValueError, match="got 2000000 frames"):
        find_sequences(folder, benchmark="generic", open_truth=False)


def test_stray_image(tmp_path):
    make(tmp_path, [1, 2, 3], images=[1, 2, 3, 30_000_000])
    with pytest.raises(ValueError, match="img1: expected a frame number near the one before, which is 3, got 30000000"):
        find_sequences(tmp_path, benchmark="generic")


def test_kitti_sequence_map(tmp_path):
    (tmp_path / "label_02").mkdir()
    (tmp_path / "label_02" / "0000.txt").write_text("")
    (tmp_path / "evaluate_tracking.seqmap.training").write_text(f"0000 empty 000000 {ABSURD}\n")
    with pytest.raises(ValueError, match=r"seqmap\.training: expected a length near .* which does not exist, got"):
        find_sequences(tmp_path)
    (problem,) = check(tmp_path).problems
    assert problem.kind == "length"


@pytest.mark.parametrize("frames", [[], [1], [1, 900_000], [900_000]])
def test_empty_hours_are_accepted(tmp_path, frames):
    """Sparse labels, and no objects at the start, at the end or overnight."""
    check_length(tmp_path, range(1, LONGEST_GAP + 1), tables(*frames))
    make(tmp_path, frames, ini=LONGEST_GAP)
    start = time.perf_counter()
    tracemalloc.start()
    assert check(tmp_path, "generic").ok
    assert tracemalloc.get_traced_memory()[1] < 5e6, "memory depends on the rows, not on the length"
    tracemalloc.stop()
    assert time.perf_counter() - start < 5


def test_gaps_in_proportion_to_the_content(tmp_path):
    days = range(1, 20_000)
    night = days[-1] + GAP_PER_FRAME * len(days)
    assert night > LONGEST_GAP
    check_length(tmp_path, range(1, night + 1), tables(*days))
    check_length(tmp_path, range(1, night + 1), tables(*days, night))
    for frames, wrong in ((days, "length"), ([*days, night + 10**3], "frame number")):
        with pytest.raises(ValueError, match=f"expected a {wrong} near"):
            check_length(tmp_path, range(1, night + 10**3 + 1), tables(*frames))


def test_missing_frames_equal_a_set():
    rng = np.random.default_rng(0)
    for _ in range(50):
        numbers = range(int(rng.integers(3)), int(rng.integers(4, 12)))
        present = rng.integers(0, 14, rng.integers(0, 14))
        missing = sorted(set(numbers) - set(present.tolist()))
        assert missing_frames(numbers, present) == (len(missing), missing[0] if missing else 0)
