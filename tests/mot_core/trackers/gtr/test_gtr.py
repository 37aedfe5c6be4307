"""GTR: training on clips, association, plug-ins, weights and bad input."""

from dataclasses import replace

import pytest
import torch

from _helpers.conformance import check_clip, check_gradient
from _helpers.trackers.overfitting import check_overfits_a_clip
from _helpers.trackers.tracker_cases import EAGER, TINY_ASSOCIATION, TINY_CENTERNET, batches, make, synthetic, trainer
from mot_core.plugins import Plugin
from mot_core.trackers import GTR, AssociationSettings, CenterNetSettings, OptimizerSettings, Tracker
from mot_core.trackers.memory import estimate_memory

NAME = "gtr"


def frames(count=4, **options):
    return list(synthetic(num_val_videos=1, num_frames=count, **options).val_dataloader())


def test_slots_and_association_of_a_clip():
    tracker = make(NAME)
    for batch in batches(num_objects=(0, 3)):
        losses, clip = tracker.losses(batch)
        assert set(losses) == {"heat", "box", "association"}
        check_clip(clip, tracker.spec.capabilities)
        check_gradient(clip, tracker.spec.capabilities, tracker.detector.backbone.stem.conv.weight)
        assert clip.frames[0].assoc is None
        for before, frame in zip(clip.frames, clip.frames[1:], strict=False):
            assert frame.assoc.shape[1:] == (before.valid.shape[1], frame.valid.shape[1])
            assert not frame.assoc[~before.valid].any(), "no logits for padding"


def test_association_equals_the_head_on_one_clip():
    """The logits between frames are those of the head on the valid slots of all frames of a clip."""
    tracker = make(NAME)
    (batch, *_) = batches()
    _, clip = tracker.losses(batch)
    for index in range(len(batch)):
        rows = [frame.valid[index].nonzero().squeeze(1) for frame in clip.frames]
        embeddings = torch.cat([frame.embeddings[index, own] for frame, own in zip(clip.frames, rows, strict=True)])
        counts = [len(own) for own in rows]
        logits = tracker.global_association(embeddings, counts)
        start = 0
        for time in range(1, len(rows)):
            middle, end = start + counts[time - 1], start + counts[time - 1] + counts[time]
            part = clip.frames[time].assoc[index][rows[time - 1]][:, rows[time]]
            torch.testing.assert_close(part, logits[start:middle, middle:end])
            start = middle


def test_padding_does_not_change_the_losses():
    """A clip has the same association next to a clip with more objects."""
    tracker = make(NAME)
    (batch, *_) = batches()
    both = tracker.losses(batch)[1]
    for index in range(len(batch)):
        targets = tuple(
            replace(one, **{name: getattr(one, name)[index : index + 1] for name in one.SHAPES}, extras={})
            for one in batch.targets
        )
        fields = {name: getattr(batch, name)[index : index + 1] for name in batch.SHAPES}
        alone = tracker.losses(replace(batch, **fields, sequences=batch.sequences[index : index + 1], targets=targets))
        for frame, other in zip(both.frames[1:], alone[1].frames[1:], strict=True):
            rows, columns = other.assoc.shape[1:]
            torch.testing.assert_close(frame.assoc[index, :rows, :columns], other.assoc[0], rtol=1e-3, atol=1e-4)


def test_single_images_train_the_detector():
    tracker = make(NAME)
    losses, clip = tracker.losses(batches(clip_length=1)[0])
    sum(losses.values()).backward()
    assert clip.frames[0].assoc is None
    assert all(one.grad is not None for one in tracker.parameters())


@pytest.mark.slow
def test_overfits_a_clip():
    """After training on one clip, its objects are found and keep their identities."""
    torch.manual_seed(0)
    tracker = GTR(TINY_CENTERNET, TINY_ASSOCIATION, OptimizerSettings(), min_area=0)
    check_overfits_a_clip(tracker, 3e-3, 200)


class Swap(Plugin):
    """Plug-in that matches each track to the detection that is not nearest in embedding."""

    name = "swap"
    requires = ("embeddings",)

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_associate(self, frame, tracks, ctx):
        self.seen.append(tracks)
        return torch.cdist(tracks.embeddings, frame.embeddings)


def test_a_plugin_replaces_the_scores():
    plugin = Swap()
    tracker = make(NAME, plugin, **EAGER[NAME]).eval()
    ids = [tracker.track(batch).ids.tolist() for batch in frames(2)]
    assert len(plugin.seen) == 1, "the first frame has no tracks"
    tracks = plugin.seen[0]
    assert tracks.ids[0].tolist() == sorted(set(tracks.ids[0].tolist()))
    assert tracks.misses.unique().tolist() == [0]
    assert set(ids[0]) <= set(tracks.ids[0].tolist())


def test_streams():
    """Identities start at 0 in every stream, and empty frames are frames."""
    tracker = make(NAME, **EAGER[NAME]).eval()
    batches_of_video = frames(3)
    first = [tracker.track(batch).ids.tolist() for batch in batches_of_video]
    again = [tracker.track(batch).ids.tolist() for batch in batches_of_video]
    assert first == again
    assert min(first[0]) == 0
    strict = make(NAME, score_threshold=1.0).eval()
    assert all(not len(strict.track(batch)) for batch in batches_of_video)


def test_checkpoint_round_trip(tmp_path):
    tracker = make(NAME)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    run.fit(tracker, synthetic())
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = Tracker.from_checkpoint(tmp_path / "x.ckpt", window=7, decay=0.5)
    assert (again.window.length, again.window.decay) == (7, 0.5)
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
        ({"window": 1}, "window: expected 2 to 100,000, got 1"),
        ({"decay": 1.5}, "decay: expected 0 to 1, got 1.5"),
        ({"match_threshold": -1}, "match_threshold: expected at least 0, got -1"),
        ({"association_weight": -0.5}, "association_weight: expected at least 0, got -0.5"),
        ({"score_threshold": 2}, "score_threshold: expected 0 to 1, got 2"),
        ({"association": AssociationSettings(embed_dim=18, num_heads=2)}, "embed_dim: expected a multiple of 4 x"),
    ],
)
def test_invalid_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        make(NAME, **options)


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        (CenterNetSettings, {"size": "50"}, "size: expected one of 34, micro, got '50'"),
        (CenterNetSettings, {"norm": "layer"}, "norm: expected one of batch, group, got 'layer'"),
        (CenterNetSettings, {"channels": 30}, "channels: expected a multiple of 4, got 30"),
        (AssociationSettings, {"pool_size": 0}, "pool_size: expected 1 to 64, got 0"),
        (AssociationSettings, {"projection_layers": -1}, "projection_layers: expected 0 to 16, got -1"),
    ],
)
def test_invalid_settings(settings, options, words):
    with pytest.raises(ValueError, match=words):
        settings(**options)
