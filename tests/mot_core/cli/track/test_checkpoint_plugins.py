"""`mot track` rebuilds the plug-ins of a checkpoint that act in tracking, or names the one that is missing."""

import numpy as np
import pytest
import torch

from _helpers.trackers.tracker_cases import EAGER, make
from mot_core.data import SyntheticVideo
from mot_core.io import read_mot
from mot_core.plugins import load_plugin

PLUGIN = '''
from dataclasses import replace

from mot_core.plugins import Plugin


class Shift(Plugin):
    """Move all boxes to the right."""

    name = "shift"

    def __init__(self, by: float = 0.0):
        super().__init__()
        self.by = by

    def on_embeddings(self, frame, ctx):
        return replace(frame, boxes_cxcywh=frame.boxes_cxcywh + frame.boxes_cxcywh.new_tensor([self.by, 0, 0, 0]))
'''


@pytest.fixture
def run(mot, monkeypatch, tmp_path):
    """Track a video with a MOTIP that has the plug-in; call with flags, and with or without the plug-in installed."""
    (tmp_path / "shift.py").write_text(PLUGIN)
    installed = f"{tmp_path / 'shift.py'}:Shift"
    monkeypatch.setenv("MOT_CORE_PLUGINS", installed)
    tracker, content = make("motip", load_plugin("shift")(by=0.1)), {}
    tracker.on_save_checkpoint(content)
    torch.save({**content, "state_dict": tracker.state_dict()}, tmp_path / "shifted.ckpt")
    video = SyntheticVideo(num_videos=1, num_frames=2, image_size=(48, 64)).save(tmp_path / "videos", 0)
    thresholds = [word for key, value in EAGER["motip"].items() for word in (f"--{key.replace('_', '-')}", value)]

    def track(*flags, plugins=installed):
        monkeypatch.setenv("MOT_CORE_PLUGINS", plugins)
        arguments = ("--tracker", "motip", "--checkpoint", tmp_path / "shifted.ckpt", "--output", tmp_path / "out")
        done = mot("track", video, *arguments, *thresholds, *flags)
        return done, tmp_path / "out" / f"{video.name}.txt"

    return track


def test_recorded_plugin_acts(run):
    done, path = run()
    assert done.code == 0, done.err
    shifted = read_mot(path, kind="results")
    assert "plugins: [shift]" in path.with_name("run.yaml").read_text()
    done, path = run("--no-plugins")
    assert done.code == 0, done.err
    plain = read_mot(path, kind="results")
    assert "plugins: []" in path.with_name("run.yaml").read_text()
    assert len(plain) == len(shifted)
    np.testing.assert_allclose(shifted.boxes_xyxy - plain.boxes_xyxy, [[6.4, 0, 6.4, 0]] * len(plain), atol=0.02)


def test_missing_plugin_is_named(run):
    done, path = run(plugins="")
    assert done.code == 1
    assert "shifted.ckpt was trained with the plug-in 'shift', which also acts in tracking: unknown plug-in" in done.err
    assert "install the package that provides it, or track without it with --no-plugins" in done.err
    assert not path.exists()
    assert run("--no-plugins", plugins="")[0].code == 0
