"""Costs by name: built-in ones, and those of installed packages through an entry point."""

import re
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest

from _helpers.crossing_scenes import make_frames
from mot_core.association import ByteTrack, OCSort, Sort, iou_cost, pixel_iou_cost, read_cost
from mot_core.association import named_costs as registry
from mot_core.cli.track.flags import parameters_of


class Constant:
    """A learned cost: its file has the number that it returns."""

    def __init__(self, path):
        with open(path) as file:
            self.value = float(file.read())

    def __call__(self, tracks, detections):
        return np.full((len(tracks.ids), len(detections.index)), self.value)


@pytest.fixture
def installed(monkeypatch):
    def points(group):
        assert group == "mot_core.costs"
        return [
            EntryPoint("constant", "constant_cost:Constant", group),
            EntryPoint("broken", "no_such_package:Cost", group),
        ]

    monkeypatch.setattr(registry, "entry_points", points)
    monkeypatch.setitem(sys.modules, "constant_cost", SimpleNamespace(Constant=Constant))


def test_built_in():
    assert read_cost("iou") is iou_cost
    assert read_cost("pixel_iou") is pixel_iou_cost
    assert ByteTrack().cost is Sort(cost="iou").cost is iou_cost
    assert ByteTrack.preset("official").cost is OCSort(cost="pixel_iou").cost is pixel_iou_cost


@pytest.mark.usefixtures("installed")
def test_learned_cost_of_a_package(tmp_path):
    path = tmp_path / "a:b.txt"
    path.write_text("1.0")
    tracker = ByteTrack(cost=f"constant:{path}")
    assert tracker.cost.value == 1.0
    # Nothing is ever matched.
    ids = [tracker.update(*frame[:2]).ids for frame in make_frames(0)[:4]]
    assert not len(np.concatenate(ids[1:]))
    again = ByteTrack(**tracker.parameters())
    assert again.cost is tracker.cost


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("text", ["constant", "constant:", "overlap", "other:file", ""])
def test_unknown_cost(text):
    expected = f"cost: expected iou or pixel_iou or broken:FILE or constant:FILE, got {text!r}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        Sort(cost=text)


@pytest.mark.usefixtures("installed")
def test_broken_package_and_missing_file(tmp_path):
    with pytest.raises(
        ValueError, match=r"cost: broken \(no_such_package:Cost\) cannot be loaded: ModuleNotFoundError"
    ):
        Sort(cost="broken:file")
    with pytest.raises(FileNotFoundError):
        Sort(cost=f"constant:{tmp_path / 'none'}")


@pytest.mark.parametrize("tracker", [ByteTrack, OCSort, Sort])
def test_flag(tracker):
    flag = parameters_of(tracker)["cost"]
    assert (flag.kind, flag.default) == (str, "iou")
    assert "NAME:FILE" in flag.description


@pytest.mark.parametrize("tracker", [ByteTrack, OCSort, Sort])
def test_velocities_of_tracks(tracker):
    """An object at constant speed: the velocity of its track converges to it, and a new track has none."""
    found = []

    def spy(tracks, detections):
        found.append(tracks.velocities.copy())
        return iou_cost(tracks, detections)

    running = tracker(cost=spy)
    for frame in range(40):
        left, top = 10.0 + 4 * frame, 300.0 - 3 * frame
        running.update([[left, top, left + 40, top + 80]], [0.9])
    assert found[0].shape == (1, 2)
    assert not found[0].any()
    np.testing.assert_allclose(found[-1], [[4, -3]], atol=0.2)
