import tempfile
from pathlib import Path

import numpy as np
import pytest
from lightning import Callback

from mot_core.callbacks import TrackVideo
from mot_core.io import find_sequences
from mot_core.visualization import save_sheet

SHORT = {"num_frames": 2}  # because drawing is slow


@pytest.fixture
def fit(make_trainer, make_tracker, make_data, tmp_path):
    """Run a short training in the folder of the test."""

    def run(*callbacks, **kwargs):
        options = {"limit_train_batches": 1, "num_sanity_val_steps": 2}
        make_trainer(tmp_path, [*callbacks], **options, **kwargs).fit(make_tracker(), make_data(**SHORT))
        return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*") if path.is_file())

    return run


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """Folder of temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_video_of_the_first_sequence_every_n_epochs(fit, tmp_path, temporary):
    import av

    written = fit(TrackVideo(every_n_epochs=2), max_epochs=4)
    assert written == [f"tracks/epoch-00{epoch}-synthetic-val-0-0.mp4" for epoch in (1, 3)]
    with av.open(str(tmp_path / written[0])) as video:
        assert video.streams.video[0].frames == 2
    assert [path.name for path in temporary.iterdir()] == []


def test_sheet_matches_that_of_saved_files(fit, make_data, tmp_path, tmp_path_factory):
    written = fit(TrackVideo(kind="sheet", num_sequences=2, max_frames=1))
    assert written == [f"tracks/epoch-000-synthetic-val-0-{number}.png" for number in (0, 1)]
    root = tmp_path_factory.mktemp("root")
    make_data(**SHORT).make_source("val").save(root, 1)
    (sequence,) = find_sequences(root, benchmark="generic")
    expected = pixels(save_sheet(sequence.window(1, 1), sequence.ground_truth(), root / "expected.png"))
    other, same = (pixels(tmp_path / name) for name in written)
    assert np.array_equal(same, expected)
    assert not np.array_equal(other, expected)


def test_limits_of_frames_and_sequences(fit, tmp_path):
    import av

    (written,) = fit(TrackVideo(max_frames=1, folder=tmp_path / "here"))
    assert written == "here/epoch-000-synthetic-val-0-0.mp4"
    with av.open(str(tmp_path / written)) as video:
        assert video.streams.video[0].frames == 1


def test_mot_validate_is_always_drawn(make_trainer, make_tracker, make_data, tmp_path):
    make_trainer(tmp_path, [TrackVideo(every_n_epochs=9)]).validate(make_tracker(), make_data(**SHORT), verbose=False)
    assert (tmp_path / "tracks/epoch-000-synthetic-val-0-0.mp4").is_file()


def test_boxes_are_scaled_with_the_image(make_data):
    from mot_core.callbacks.track_video import _Recording
    from mot_core.structures import Tracks

    data = make_data()
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    batch.original_size = batch.image_size * 2
    recording = _Recording("clip")
    recording.add(batch, Tracks(np.array([3]), np.array([[20.0, 40.0, 60.0, 90.0]]), np.ones(1)))
    np.testing.assert_allclose(recording.table().boxes_xyxy, [[10, 20, 30, 45]])
    assert pixels(Path(recording.images.name, "000001.png")).shape == (48, 80, 3)
    recording.images.cleanup()


def test_fallback_to_sheets(fit, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with caplog.at_level("INFO"):
        written = fit(TrackVideo())
    assert written == ["tracks/epoch-000-synthetic-val-0-0.png"]
    assert "TrackVideo saves sheets of frames instead of videos: drawing a video needs av" in caplog.text


def test_interruption_removes_temporary_files(fit, temporary):
    class Interrupt(Callback):
        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            if not trainer.sanity_checking and batch_idx == 1:
                assert list(temporary.iterdir())
                raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fit(TrackVideo(), Interrupt())
    assert list(temporary.iterdir()) == []


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match="max_frames: expected at least 1, got 0"):
        TrackVideo(max_frames=0)
    with pytest.raises(ValueError, match="kind: expected 'video' or 'sheet', got 'gif'"):
        TrackVideo(kind="gif")
