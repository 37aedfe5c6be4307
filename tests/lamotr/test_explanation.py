"""Explanations of trained trackers: what is recorded, that tracking is unchanged, and the command."""

import numpy as np
import pytest

from _helpers.trackers.tracker_cases import EAGER, make
from lamotr import LAMOTRPlugin
from lamotr.explanation import explain_association, plot_association
from mot_core.cli import main
from mot_core.data import SyntheticVideo
from mot_core.data.stream import frame_batch
from mot_core.io.atomic import save_atomic
from mot_core.streams import open_streams
from mot_core.trackers.checkpoint import describe

RULES = {"detection_threshold": 0.005, "track_threshold": 0.005}
SGLA = {"num_heads": 2, "num_layers": 1, "ffn_dim": 16}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return SyntheticVideo(num_videos=1, num_frames=4, image_size=(32, 48)).save(tmp_path_factory.mktemp("video"), 0)


def batches(video):
    (stream,) = open_streams(video)
    return [frame_batch(stream, number) for number in stream.sequence.frame_numbers()]


def trained(name):
    plugins = [] if name == "lamotr" else [LAMOTRPlugin(sgla=SGLA, rules=RULES)]
    tracker = make(name, *plugins, **EAGER[name])
    tracker.setup()
    return tracker.eval()


@pytest.mark.parametrize("name", ["lamotr", "motr", "motip"])
def test_recorded_associations(video, name):
    found = explain_association(trained(name), batches(video), min_score=0.0)
    assert [frame.number for frame in found] == [2, 3, 4], "the first frame has no tracks before it"
    for frame in found:
        tracks, objects = frame.scores.shape
        assert frame.image.shape == (32, 48, 3)
        assert (len(frame.track_ids), len(frame.object_scores)) == (tracks, objects)
        assert frame.track_boxes_xyxy.shape == (tracks, 4)
        assert frame.object_boxes_xyxy.shape == (objects, 4)
        assert tracks > 0
        assert objects > 0
        assert len(set(frame.track_ids.tolist())) == tracks
        assert ((frame.scores >= 0) & (frame.scores <= 1)).all()
        assert frame.object_boxes_xyxy[:, [0, 2]].mean() < 48


def test_objects_are_confident_detections(video):
    frames = explain_association(trained("lamotr"), batches(video), min_score=0.0)
    middle = float(np.median(frames[0].object_scores))
    fewer = explain_association(trained("lamotr"), batches(video), min_score=middle)[0]
    assert 0 < len(fewer.object_scores) < len(frames[0].object_scores)
    assert fewer.object_scores.min() >= middle


@pytest.mark.parametrize("name", ["lamotr", "motip"])
def test_tracking_is_unchanged(video, name):
    tracker = trained(name)
    before = [tracker.track(batch).numpy() for batch in batches(video)]
    explain_association(tracker, batches(video))
    after = [tracker.track(batch).numpy() for batch in batches(video)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.ids, other.ids)
    assert "on_associate" not in vars(tracker.plugins)


def test_invalid_input(video):
    with pytest.raises(ValueError, match="batches: expected at least one frame, got none"):
        explain_association(trained("lamotr"), [])
    with pytest.raises(ValueError, match="expected LA-MOTR or a tracker with LAMOTRPlugin, got MOTIP"):
        explain_association(make("motip").eval(), batches(video))


def test_picture_without_objects(video, tmp_path):
    frame = explain_association(trained("lamotr"), batches(video), min_score=1.0)[0]
    assert frame.scores.shape[1] == 0
    assert plot_association(frame, tmp_path / "a.png").stat().st_size > 3000


def test_command(video, tmp_path, capsys):
    tracker = trained("lamotr")
    path = tmp_path / "a.ckpt"
    save_atomic({"state_dict": tracker.state_dict(), "tracker": describe(tracker)}, path)
    command = ["lamotr", "explain", str(path), str(video), "--output", str(tmp_path / "out"), "--min-score", "0"]
    assert main([*command, "--every", "2"]) == 0
    out = capsys.readouterr().out
    for number in (2, 4):
        assert (tmp_path / "out" / f"association_{number:06d}.png").stat().st_size > 3000
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert "3 frames, " in out
    assert main([*command, "--frames", "0"]) == 1
    assert "--frames: expected at least 1, got 0" in capsys.readouterr().err
