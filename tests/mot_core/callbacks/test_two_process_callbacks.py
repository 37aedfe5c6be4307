import json

import pytest

from _helpers.two_process.launch import launch
from mot_core.callbacks import EmbeddingSimilarity, ResultsWriter


@pytest.mark.slow
def test_two_processes_write_the_same_files(make_trainer, make_tracker, make_data, tmp_path):
    two = tmp_path / "two"
    printed = launch("callbacks", two)
    assert sorted(path.relative_to(two).as_posix() for path in two.rglob("*.*")) == [
        *(f"results/synthetic-test-0-{number}.txt" for number in range(3)),
        "similarity/epoch-000.json",
        "similarity/epoch-000.png",
        "tracks/epoch-000-synthetic-val-0-0.mp4",
    ]
    # The scores of all sequences are printed once.
    assert [printed.count(f"synthetic-test-0-{number} ") for number in range(3)] == [1, 1, 1]
    assert printed.count("results: ") == 1

    one, tracker = tmp_path / "one", make_tracker()
    trainer = make_trainer(one, [ResultsWriter(), EmbeddingSimilarity(min_score=0.0)])
    trainer.validate(tracker, make_data(num_val_videos=3, num_frames=2), verbose=False)
    trainer.test(tracker, make_data(num_val_videos=3, num_frames=2), verbose=False)
    for number in range(3):
        name = f"results/synthetic-test-0-{number}.txt"
        assert (one / name).read_text() == (two / name).read_text()
    numbers, same = (json.loads((folder / "similarity/epoch-000.json").read_text()) for folder in (one, two))
    assert numbers["pairs"] == same["pairs"] == 3 * 2 * 28
    assert numbers["counts"] == same["counts"]
    assert numbers["mean"] == pytest.approx(same["mean"], abs=1e-9)
