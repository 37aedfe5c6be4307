from dataclasses import replace

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from mot_core.callbacks import ResultsWriter
from mot_core.data import collate
from mot_core.io import read_mot

NAMES = ["synthetic-test-0-0", "synthetic-test-0-1"]


@pytest.fixture
def test(make_trainer, make_tracker, make_data, tmp_path):
    """Run ``Trainer.test`` with a ResultsWriter."""

    def run(*callbacks, data=None, **kwargs):
        trainer = make_trainer(tmp_path, [ResultsWriter(), *callbacks], **kwargs)
        trainer.test(make_tracker(), data or make_data(), verbose=False)

    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_result_files_and_scores(test, make_data, true_boxes, tmp_path, capsys):
    test()
    folder = tmp_path / "results"
    assert files(folder) == [f"{name}.txt" for name in NAMES]
    data = make_data()
    data.setup("test")
    tables = {name: read_mot(folder / f"{name}.txt", kind="results") for name in NAMES}
    for batch in data.test_dataloader():
        table = tables[batch.sequences[0]]
        rows = table.frame(int(batch.times[0, 0]))
        assert table.ids[rows].tolist() == batch.targets[0].ids[0].tolist()
        torch.testing.assert_close(
            torch.from_numpy(table.boxes_xyxy[rows]).float(), true_boxes(batch), atol=1e-4, rtol=0
        )
    printed = capsys.readouterr().out
    for name in (*NAMES, "COMBINED"):
        (line,) = [line for line in printed.splitlines() if f" {name} " in line]
        assert line.split("│")[2].strip() == "100.00"
    assert f"results: {folder} " in printed


def test_truncated_sequence_has_no_file(test, tmp_path, capsys):
    test(limit_test_batches=6)
    assert files(tmp_path / "results") == ["synthetic-test-0-0.txt"]
    assert "synthetic-test-0-1: no result file, because only 2 of 4 frames were tracked" in capsys.readouterr().out


def test_limit_at_the_end_of_a_sequence(test, tmp_path, capsys):
    test(limit_test_batches=4)
    assert files(tmp_path / "results") == ["synthetic-test-0-0.txt"]
    assert "no result file" not in capsys.readouterr().out


def test_interruption_keeps_finished_sequences(test, tmp_path):
    class Interrupt(Callback):
        def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            if batch_idx == 3:
                assert files(tmp_path) == []
            if batch_idx == 6:
                raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        test(Interrupt())
    assert files(tmp_path) == ["results/synthetic-test-0-0.txt"]


def test_results_of_other_runs_are_reported(test, tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/old.txt").touch()
    test()
    assert "also contains results of other runs: old.txt" in capsys.readouterr().out


def test_prediction_files_without_scores(make_trainer, make_tracker, make_data, tmp_path, capsys):
    trainer = make_trainer(tmp_path, [ResultsWriter(tmp_path / "here")])
    trainer.predict(make_tracker(), make_data())
    assert files(tmp_path) == [f"here/{name}.txt" for name in NAMES]
    assert "HOTA" not in capsys.readouterr().out


def test_validation_files_are_optional(make_trainer, make_tracker, make_data, tmp_path, capsys):
    class Check(Callback):
        def on_sanity_check_end(self, trainer, pl_module):
            assert files(tmp_path) == []

    for validation, count in ((False, 0), (True, 2)):
        trainer = make_trainer(tmp_path, [ResultsWriter(validation=validation), Check()], num_sanity_val_steps=-1)
        trainer.fit(make_tracker(), make_data())
        assert len(files(tmp_path)) == count
    assert "results" not in capsys.readouterr().out
    trainer.validate(make_tracker(), make_data(), verbose=False)
    assert "results: " in capsys.readouterr().out


def test_folder_of_the_logger(make_trainer, make_tracker, make_data, tmp_path):
    logger = CSVLogger(tmp_path / "logs", name="run", version=3)
    make_trainer(tmp_path, [ResultsWriter()], logger=logger).test(make_tracker(), make_data(), verbose=False)
    assert files(tmp_path / "logs/run/version_3/results") == [f"{name}.txt" for name in NAMES]


def test_invalid_tracks_are_reported_with_their_sequence(make_trainer, make_tracker, make_data, tmp_path):
    tracker = make_tracker()
    right = tracker.track_frame

    def wrong(batch, ctx):
        tracks = right(batch, ctx)
        return replace(tracks, ids=torch.zeros_like(tracks.ids))

    tracker.track_frame = wrong
    with pytest.raises(ValueError, match="synthetic-test-0-0: ids of frame 1 must be unique"):
        make_trainer(tmp_path, [ResultsWriter()]).predict(tracker, make_data())
    assert files(tmp_path) == []


def test_other_modules_and_datasets_are_rejected(make_trainer, make_tracker, make_data, tmp_path):
    class Other(LightningModule):
        def predict_step(self, batch):
            return None

    data = make_data()
    data.setup("predict")
    trainer = make_trainer(tmp_path, [ResultsWriter()])
    with pytest.raises(TypeError, match=r"expected a mot_core tracker, got Other"):
        trainer.predict(Other(), data.predict_dataloader())
    frames = [data.predict_dataloader().dataset[0]]
    with pytest.raises(TypeError, match="FrameDataset, got one over list"):
        trainer.predict(make_tracker(), DataLoader(frames, collate_fn=collate))
