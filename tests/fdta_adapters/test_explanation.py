"""Explanations of trained trackers: what is recorded, that tracking is unchanged, and the command."""

import numpy as np
import pytest

from _helpers.trackers.tracker_cases import EAGER, make
from fdta_adapters import IdentityAdapterPlugin, SpatialAdapterPlugin, TemporalAdapterPlugin
from fdta_adapters.explanation import explain_adapters, plot_adapters
from mot_core.cli import main
from mot_core.data import SyntheticVideo
from mot_core.data.stream import frame_batch
from mot_core.io.atomic import save_atomic
from mot_core.streams import open_streams
from mot_core.trackers.checkpoint import describe


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return SyntheticVideo(num_videos=1, num_frames=5, image_size=(32, 48)).save(tmp_path_factory.mktemp("video"), 0)


def batches(video):
    (stream,) = open_streams(video)
    return [frame_batch(stream, number) for number in stream.sequence.frame_numbers()]


def adapters(stride=None):
    return (
        SpatialAdapterPlugin(num_bins=20, num_heads=2, encoder_stride=stride),
        TemporalAdapterPlugin(layers=2, num_heads=2, window=4),
        IdentityAdapterPlugin(),
    )


def trained(name, *plugins):
    tracker = make(name, *plugins, **EAGER[name])
    tracker.setup()
    return tracker.eval()


@pytest.mark.parametrize("name", ["motip", "motr"])
@pytest.mark.parametrize("stride", [None, 16])
def test_recorded_arrays(video, name, stride):
    tracker = trained(name, *adapters(stride))
    found = explain_adapters(tracker, batches(video), min_score=0.0)
    assert [frame.number for frame in found.frames] == [1, 2, 3, 4, 5]
    for frame in found.frames:
        assert frame.image.shape == (32, 48, 3)
        assert frame.depth.shape == (4, 6)
        assert frame.attention.shape == ((4, 6) if stride is None else (2, 3))
        assert frame.attention.sum() == pytest.approx(1, abs=1e-5)
        assert 0 <= frame.image.min() <= frame.image.max() <= 1
    assert found.interaction.ndim == 2
    np.testing.assert_allclose(found.interaction.sum(1), 1, atol=1e-5)
    assert not np.triu(found.interaction, 1).any(), "the past does not attend to the future"
    assert len(found.similarity.similarity) > 0


def test_coarse_cells_of_a_small_image(tmp_path):
    """A stride that does not divide the map: 1 x 2 cells for a depth map of 4 x 5."""
    small = SyntheticVideo(num_videos=1, num_frames=2, image_size=(32, 40)).save(tmp_path, 0)
    found = explain_adapters(trained("motip", *adapters(32)), batches(small), min_score=0.0)
    assert [frame.depth.shape for frame in found.frames] == [(4, 5)] * 2
    assert [frame.attention.shape for frame in found.frames] == [(1, 2)] * 2


def test_tracking_is_unchanged(video):
    tracker = trained("motip", *adapters())
    before = [tracker.track(batch).numpy() for batch in batches(video)]
    explain_adapters(tracker, batches(video))
    tracker.reset()
    after = [tracker.track(batch).numpy() for batch in batches(video)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.ids, other.ids)
    assert "attend" not in vars(tracker.plugins["fdta_spatial"].adapter)
    assert "on_embeddings" not in vars(tracker.plugins)


def test_tracker_without_adapters(video, tmp_path):
    found = explain_adapters(trained("motip"), batches(video), min_score=0.0)
    assert found.frames == ()
    assert found.interaction is None
    assert [path.name for path in plot_adapters(found, tmp_path)] == ["similarity.png"]


def test_invalid_input(video):
    with pytest.raises(ValueError, match="batches: expected at least one frame, got none"):
        explain_adapters(trained("motip"), [])


def test_command(video, tmp_path, capsys):
    tracker = trained("motip", *adapters())
    path = tmp_path / "a.ckpt"
    save_atomic({"state_dict": tracker.state_dict(), "tracker": describe(tracker)}, path)
    assert main(["fdta", "explain", str(path), str(video), "--output", str(tmp_path / "out"), "--min-score", "0"]) == 0
    out = capsys.readouterr().out
    for name in ("depth.png", "history.png", "similarity.png"):
        assert (tmp_path / "out" / name).stat().st_size > 3000
        assert name in out
    assert "pairs of objects: mean similarity" in out
    assert main(["fdta", "explain", str(path), str(video), "--output", str(tmp_path), "--frames", "0"]) == 1
    assert "--frames: expected at least 1, got 0" in capsys.readouterr().err
