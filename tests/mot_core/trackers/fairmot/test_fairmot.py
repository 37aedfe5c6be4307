"""FairMOT: training on clips and stills, identities, association, weights and bad input."""

import numpy as np
import pytest
import torch

from _helpers.conformance import check_clip, check_gradient
from _helpers.trackers.overfitting import check_overfits_a_clip
from _helpers.trackers.tracker_cases import EAGER, TINY_FAIRMOT, batches, make, synthetic, trainer
from mot_core.association import AppearanceTrack
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.nn import DenseOutput
from mot_core.plugins import Plugin
from mot_core.trackers import FairMOT, FairMOTSettings, Tracker
from mot_core.trackers.memory import estimate_memory

NAME = "fairmot"


def frames(count=4, **options):
    return list(synthetic(num_val_videos=1, num_frames=count, **options).val_dataloader())


def scripted(tracker, boxes, scores, embeddings):
    """Let the network return the given boxes (in pixels), scores and embeddings."""
    logits = torch.tensor(scores, dtype=torch.float64).logit()[None, :, None]
    output = DenseOutput(torch.tensor([boxes], dtype=torch.float64), logits, torch.tensor([embeddings]).double())
    tracker.detect = lambda *_: (output, None)


def test_slots_of_a_clip():
    tracker = make(NAME)
    for batch in batches(num_objects=(0, 3)):
        losses, clip = tracker.losses(batch)
        assert set(losses) == {"heat", "sides", "offset", "identity", "uncertainty"}
        check_clip(clip, tracker.spec.capabilities)
        check_gradient(clip, tracker.spec.capabilities, tracker.detector.backbone.stem.conv.weight)


def test_every_parameter_has_a_gradient():
    for options in ({}, {"identities": 50}):
        tracker = make(NAME, **options)
        losses, _ = tracker.losses(batches(clip_length=1)[0])
        sum(losses.values()).backward()
        assert all(one.grad is not None for one in tracker.parameters())


def test_losses_do_not_depend_on_the_mode():
    """Only tracking suppresses cells next to peaks."""
    tracker = make(NAME)
    (batch, *_) = batches()
    losses, again = tracker.losses(batch)[0], tracker.eval().losses(batch)[0]
    for name, value in losses.items():
        torch.testing.assert_close(value, again[name])


def test_identity_loss_falls():
    """A few steps on a clip tell its objects apart."""
    tracker = make(NAME)
    (batch, *_) = batches(num_objects=(3, 3))
    optimizer, values = torch.optim.AdamW(tracker.parameters(), 3e-3), []
    for step in range(12):
        optimizer.zero_grad()
        losses, _ = tracker.losses(batch, step=step)
        losses["identity"].backward()
        optimizer.step()
        values.append(losses["identity"].item())
    assert values[-1] < values[0]


@pytest.mark.slow
def test_overfits_a_clip():
    """After training on one clip, its objects are found and keep their identities."""
    torch.manual_seed(0)
    tracker = FairMOT(TINY_FAIRMOT, min_area=0)
    check_overfits_a_clip(tracker, 3e-3, 250)


def test_association_equals_appearance_track():
    """Detections and embeddings reach the association in pixels of the original image."""
    tracker, plain = make(NAME, min_area=0).eval(), AppearanceTrack(frame_rate=30)
    generator = np.random.default_rng(0)
    for number, batch in enumerate(frames(8)):
        boxes = [[10 + number, 12, 8, 12], [30 - number, 16, 6, 10]][: 1 + number % 3]
        scores = generator.uniform(0.5, 0.95, len(boxes)).tolist()
        embeddings = generator.normal(size=(len(boxes), 3)).tolist()
        scripted(tracker, boxes, scores, embeddings)
        tracks = tracker.track(batch)
        size = (batch.original_size[0] / batch.image_size[0]).flip(0).repeat(2)
        pixels = (cxcywh_to_xyxy(torch.tensor(boxes, dtype=torch.float64)) * size).numpy()
        order = np.argsort(scores)[::-1].copy()
        expected = plain.update(
            pixels[order], np.array(scores)[order], timestamp=int(batch.times[0, 0]) / 30,
            embeddings=np.array(embeddings)[order],
        )  # fmt: skip
        assert tracks.ids.tolist() == (expected.ids - 1).tolist()
        np.testing.assert_allclose(tracks.boxes_xyxy.numpy(), expected.boxes_xyxy, rtol=1e-5)


class Swap(Plugin):
    """Plug-in that matches each track to the detection that is not nearest in embedding."""

    name = "swap"
    requires = ("embeddings",)

    def on_associate(self, frame, tracks, ctx):
        return torch.cdist(tracks.embeddings, frame.embeddings).clamp(max=1)


def test_a_plugin_replaces_the_first_cost():
    ids = []
    for plugins in ((), (Swap(),)):
        tracker = make(NAME, *plugins, min_area=0).eval()
        for batch in frames(2):
            scripted(tracker, [[10.0, 12, 8, 12], [14.0, 12, 8, 12]], [0.9, 0.9], [[1.0, 0.0], [0.0, 1.0]])
            tracks = tracker.track(batch)
        ids.append(tracks.ids[tracks.boxes_xyxy[:, 0].argsort()].tolist())
    assert ids == [[0, 1], [1, 0]]


def test_untrained_detectors_track():
    tracker = make(NAME, **EAGER[NAME]).eval()
    assert [len(tracker.track(batch)) > 0 for batch in frames(2)] == [True, True]
    strict = make(NAME, score_threshold=1.0).eval()
    assert all(not len(strict.track(batch)) for batch in frames(3))


def test_checkpoint_round_trip(tmp_path):
    tracker = make(NAME, identities=40)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    run.fit(tracker, synthetic())
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = Tracker.from_checkpoint(tmp_path / "x.ckpt", smoothing=0.3)
    assert again.association.smoothing == 0.3
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tracker.state_dict().items())


def test_memory_estimate():
    small, large = (estimate_memory(make(NAME), (side, side), 2) for side in (64, 128))
    assert large.frame / small.frame == pytest.approx(4, rel=0.05)
    assert small.frames_kept == 2


def test_parameter_groups():
    groups = {group["name"]: group for group in make(NAME).parameter_groups()}
    assert groups["backbone"]["lr"] == pytest.approx(1e-4)
    assert groups["tracker"]["lr"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"identities": -1}, "identities: expected 0 to 10,000,000, got -1"),
        ({"smoothing": 2}, "smoothing must be from 0 to 1, got 2"),
        ({"score_threshold": -1}, "score_threshold: expected 0 to 1"),
        ({"max_age": -1}, "max_age must be 0 or more frames"),
    ],
)
def test_invalid_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        make(NAME, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": "50"}, "size: expected one of 34, micro, got '50'"),
        ({"norm": "layer"}, "norm: expected one of batch, group, got 'layer'"),
        ({"embed_dim": 0}, "embed_dim: expected 1 to"),
        ({"hidden": 0}, "hidden: expected 1 to"),
    ],
)
def test_invalid_settings(options, words):
    with pytest.raises(ValueError, match=words):
        FairMOTSettings(**options)
