"""Videos, a checkpoint of the toy tracker, and the command that tracks with it."""

import pytest
import torch

from mot_core.cli.track import command as track

# Lightning is imported in the fixtures, so that tests without it are collected and skipped.


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Two sequences of 7 frames of 48x64, smooth enough for a video codec."""
    from mot_core.data import SyntheticVideo

    root = tmp_path_factory.mktemp("videos")
    video = SyntheticVideo(num_videos=2, num_frames=7, image_size=(48, 64), num_objects=(3, 3), seed=4)
    for number in range(2):
        video.save(root, number)
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, videos):
    from _helpers.trackers.image_toy import RESIZE, Toy, save

    torch.manual_seed(0)
    return save(tmp_path_factory.mktemp("toy") / "toy.ckpt", Toy(), RESIZE, videos)


@pytest.fixture
def toy(mot, monkeypatch, checkpoint, tmp_path):
    """Run `mot track SOURCE ...` with the toy tracker, into the folder out."""
    from _helpers.trackers.image_toy import Toy

    monkeypatch.setattr(track, "load_tracker", lambda name: Toy)

    def run(source, *arguments, checkpoint=checkpoint):
        given = [] if checkpoint is None else ["--checkpoint", checkpoint]
        given += [] if "--device" in arguments else ["--device", "cpu"]  # the reference is computed on the CPU too
        return mot("track", source, "--tracker", "toy", "--output", tmp_path / "out", *given, *arguments)

    return run
