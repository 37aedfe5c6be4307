"""Released weights that contain plug-ins."""

import pytest
import torch
from torch import nn

from _helpers.trackers.official_names import officially
from _helpers.trackers.tracker_cases import make
from mot_core.plugins import Plugin
from mot_core.trackers.released_plugins import attach_released, import_released

FILE = """
import torch
from torch import nn
from mot_core.plugins import Plugin

class Gain(Plugin):
    name = "gain"

    def __init__(self, width: int = 1, weight: float = 1.0, warmup_steps: int = 0):
        super().__init__(weight, warmup_steps)
        self.width = width

    def setup(self, spec):
        self.gain = nn.Parameter(torch.zeros(self.width))
        return {}

    @classmethod
    def released_arguments(cls, state):
        return {"width": len(state["adapter.gain"])} if "adapter.gain" in state else None

    def import_weights(self, state):
        if "adapter.gain" not in state:
            return {}
        self.gain.data.copy_(state["adapter.gain"])
        return {"adapter.gain": "gain"}
"""


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Released weights of MOTR's detector, with a plug-in under development."""
    (tmp_path / "gain.py").write_text(FILE)
    monkeypatch.setenv("MOT_CORE_PLUGINS", f"{tmp_path / 'gain.py'}:Gain")
    names = officially(make("motr", seed=1).detector.state_dict())
    return names | {"adapter.gain": torch.tensor([1.0, 2.0, 3.0]), "other": torch.zeros(2)}


def test_recognized_plugin_is_attached_and_loaded(state):
    tracker = make("motr")
    attach_released(tracker, state)
    report = import_released(tracker, state)
    assert list(tracker.plugins) == ["gain"]
    assert tracker.plugins["gain"].gain.tolist() == [1.0, 2.0, 3.0]
    assert report.used["adapter.gain"] == "plugins.gain.gain"
    assert report.used["query_embed.weight"] == "detector.query_embed.weight"
    assert set(report.unused) == {"other"}


def test_other_weights_attach_nothing(state):
    del state["adapter.gain"]
    tracker = make("motr")
    attach_released(tracker, state)
    assert not tracker.plugins
    assert set(import_released(tracker, state).unused) == {"other"}


def test_attached_plugin_without_released_weights_stays_new(state):
    class Own(Plugin):
        name = "own"

        def setup(self, spec):
            self.layer = nn.Linear(2, 2)
            return {}

    tracker = make("motr", Own())
    report = import_released(tracker, state)
    assert set(report.unused) == {"adapter.gain", "other"}
    assert not any("own" in name for name in report.used.values())


def test_broken_plugin_is_skipped(state, monkeypatch, capsys, tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('out of order')\n")
    monkeypatch.setenv("MOT_CORE_PLUGINS", f"{tmp_path / 'broken.py'}:Broken {tmp_path / 'gain.py'}:Gain")
    tracker = make("motr")
    attach_released(tracker, state)
    assert list(tracker.plugins) == ["gain"]
    assert "mot: skipped: " in capsys.readouterr().err
