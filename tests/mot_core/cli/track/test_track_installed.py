"""`mot track` with the installed trainable trackers, with random weights and on real frames."""

from __future__ import annotations

import av
import pytest
import torch

from _helpers.trackers.toy_tracker import SMALL
from _helpers.trackers.tracker_cases import EAGER, make
from mot_core.association.registry import trainable_trackers
from mot_core.data import SyntheticVideo
from mot_core.io import read_mot
from mot_core.trackers import MOTIP


@pytest.mark.parametrize("name", trainable_trackers())
def test_installed_trackers(mot, tmp_path, name):
    video = SyntheticVideo(num_videos=1, num_frames=5, image_size=(48, 64)).save(tmp_path / "videos", 0)
    content, tracker = {}, make(name)
    tracker.on_save_checkpoint(content)
    torch.save({**content, "state_dict": tracker.state_dict()}, tmp_path / "random.ckpt")
    arguments = ["--tracker", name, "--checkpoint", tmp_path / "random.ckpt", "--output", tmp_path / "out"]
    flags = [word for key, value in EAGER[name].items() for word in (f"--{key.replace('_', '-')}", value)]
    done = mot("track", video, "--frames", "2-4", *arguments, *flags)
    assert done.code == 0, done.err
    results = read_mot(tmp_path / "out" / f"{video.name}.txt", kind="results")
    assert sorted(set(results.frames.tolist())) == [2, 3, 4]
    other = next(one for one in trainable_trackers() if one != name)
    done = mot("track", video, *("--tracker", other), *arguments[2:])
    assert done.code == 1
    own, known = (trainable_trackers()[one].__name__ for one in (name, other))
    assert f"random.ckpt holds a tracker of class '{own}'; known classes are: {known}" in done.err


@pytest.mark.parametrize("folder", ["flies/fly-clip", "MOT15/train/PETS09-S2L1"])
def test_real_frames(mot, mot_data, tmp_path, folder):
    torch.manual_seed(0)
    content = {}
    tracker = MOTIP(SMALL, id_layers=1)
    tracker.on_save_checkpoint(content)
    torch.save({**content, "state_dict": tracker.state_dict()}, tmp_path / "random.ckpt")
    done = mot(
        *(
            "track",
            mot_data / folder,
            "--tracker",
            "motip",
            "--checkpoint",
            tmp_path / "random.ckpt",
            "--frames",
            "5-7",
        ),
        *("--detection-threshold", 0, "--newborn-threshold", 0, "--resize", 120, 200, "--video"),
        *("--output", tmp_path / "out"),
    )
    assert (done.code, done.err) == (0, "")
    name = folder.rsplit("/", 1)[-1]
    assert sorted(set(read_mot(tmp_path / "out" / f"{name}.txt", kind="results").frames.tolist())) == [5, 6, 7]
    with av.open(str(tmp_path / "out" / f"{name}.mp4")) as video:
        assert video.streams.video[0].frames == 3
