"""Trackers by entry point: lookup, loading and errors of broken packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch

from mot_core.association import ByteTrack, Sort, registry
from mot_core.association.registry import GROUP, build_tracker, load_tracker, tracker_of


@pytest.fixture
def plugins(monkeypatch):
    """Entry points of one valid and three broken trackers."""
    points = [
        EntryPoint("sort", "mot_core.association:Sort", GROUP),
        EntryPoint("away", "a_missing_package:Tracker", GROUP),
        EntryPoint("renamed", "mot_core.association:Sotr", GROUP),
        EntryPoint("number", "math:pi", GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("away", r"away \(a_missing_package:Tracker\) cannot be loaded: ModuleNotFoundError"),
        ("renamed", r"renamed \(mot_core\.association:Sotr\) cannot be loaded: AttributeError"),
        ("number", r"number \(math:pi\) is not a tracker: it has no method update"),
        ("srot", r"unknown tracker 'srot'; did you mean sort\?"),
        ("gtr2", r"unknown tracker 'gtr2'; installed trackers: away, number, renamed, sort"),
    ],
)
def test_broken_entry_points_are_reported(plugins, name, words):
    with pytest.raises(ValueError, match=words):
        load_tracker(name)


def test_broken_entry_points_do_not_affect_others(plugins, mot):
    assert load_tracker("sort") is Sort
    done = mot("track", "--help")
    assert done.code == 0
    assert "installed: away, number, renamed, sort" in done.out
    done = mot("track", "x", "--tracker", "away", "--output", "y")
    assert done.code == 1
    assert "other trackers: number, renamed, sort" in done.err


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"tracker": {"class": "MOTIP"}, "state_dict": {}}, "motip"),
        ({"em_kalman": {"warm": True}, "state_dict": {}}, "em_kalman"),  # EMKalmanModule
        ({"format": "em_kalman", "state_dict": {}}, "em_kalman"),  # em_kalman.save_model
        ({"tracker": {"class": "Mine"}, "state_dict": {}}, None),
        ({"state_dict": {}}, None),
    ],
)
def test_checkpoints_name_their_tracker(tmp_path, content, name):
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    if name:
        assert tracker_of(path) == name
    else:
        with pytest.raises(ValueError, match=f"got one of (Mine|another kind) in {path}; name its tracker with"):
            tracker_of(path)


def test_tracker_may_be_left_out_with_a_checkpoint(tmp_path, mot):
    path = tmp_path / "last.ckpt"
    torch.save({"format": "em_kalman", "state_dict": {}}, path)
    assert "parameters of em_kalman" in mot("track", "x", "--checkpoint", path, "--help").out
    done = mot("track", "x", "--output", "y")
    assert (done.code, "--tracker" in done.err) == (2, True)


def test_settings_override_the_preset():
    tracker = build_tracker(ByteTrack, "official", {"max_age": 5, "min_area": 0.0}, "MOT17", "MOT17-05-FRCNN")
    assert (tracker.max_age, tracker.min_area, tracker.official_quirks) == (5, 0.0, True)


def test_default_preset():
    assert build_tracker(Sort, None, {}).parameters() == Sort.preset("default").parameters()


def test_tracker_without_presets():
    class Plain:
        def __init__(self, *, gain: float = 1.0) -> None:
            self.gain = gain

    assert build_tracker(Plain, None, {"gain": 2.0}).gain == 2.0
    with pytest.raises(ValueError, match="Plain has no preset 'official'; available: none"):
        build_tracker(Plain, "official", {})
