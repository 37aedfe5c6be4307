"""Base class of trackers, on a minimal subclass: losses, optimizer, clipping, tracking and scoring."""

import math
from dataclasses import replace

import pytest
import torch

from _helpers.trackers.toy_tracker import SMALL, ToyTracker, make_toy, synthetic, trainer
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.data import MOTDataModule, SyntheticVideo
from mot_core.plugins import Plugin
from mot_core.trackers import FrameTracks, OptimizerSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")


class Mean(Plugin):
    name = "mean"

    def setup(self, spec):
        self.scale = torch.nn.Parameter(torch.ones(()))
        return {}

    def on_clip_loss(self, clip, ctx):
        ctx.log("note", 3.0)
        return {"box": self.scale * clip.frames[0].boxes_cxcywh.mean()}


def clips(**arguments):
    return next(iter(synthetic(**arguments).train_dataloader()))


def frames(**arguments):
    return list(synthetic(**arguments).val_dataloader())


class ScriptedTracker(ToyTracker):
    """Tracker with prescribed results: identities and boxes in [0, 1] per frame number."""

    def __init__(self, **base):
        super().__init__(**base)
        self.script = {}
        self.seen = []

    def track_frame(self, batch, ctx):
        number = int(batch.times[0, 0])
        self.seen.append((batch.sequences[0], number, ctx.frame, ctx.training))
        ids, boxes = self.script.get(number, (torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)))
        return FrameTracks(ids, boxes, torch.ones(len(ids)), torch.zeros_like(ids))


def perfect(batches):
    """Return a tracker that reproduces the ground truth."""
    tracker = ScriptedTracker()
    for batch in batches:
        truth = batch.targets[0]
        valid = truth.valid[0]
        tracker.script[int(batch.times[0, 0])] = truth.ids[0][valid], truth.boxes_cxcywh[0][valid]
    return tracker.eval()


# Losses.


def test_losses_without_a_trainer_include_those_of_plugins():
    tracker, logged = make_toy(), {}
    tracker.attach(Mean(weight=0.5))
    losses, clip = tracker.losses(clips(), step=3, log=logged.__setitem__)
    assert {"frame_0_class", "frame_1_giou_0", "mean/box"} <= losses.keys()
    assert logged.keys() == {*losses, "mean/note"}
    assert losses["mean/box"].item() == pytest.approx(0.5 * logged["mean/box"].item())
    assert all(not torch.is_tensor(value) or not value.requires_grad for value in logged.values())
    assert len(clip.frames) == 2
    sum(losses.values()).backward()
    assert tracker.detector.query_embed.weight.grad.any()
    assert tracker.plugins["mean"].scale.grad


def test_losses_require_ground_truth():
    batch = replace(clips(), targets=None)
    with pytest.raises(ValueError, match=r"clips of synthetic-train-0-\d, .* have no ground truth to train on"):
        make_toy().losses(batch)


def test_dropout_depends_on_the_step_only():
    tracker, batch = make_toy(detector=replace(SMALL, dropout=0.3)), clips()
    before = torch.get_rng_state()
    first = tracker.losses(batch, step=1)[0]
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    again, other = tracker.losses(batch, step=1)[0], tracker.losses(batch, step=2)[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_checkpointing_is_bit_identical():
    found = []
    for checkpointing in (False, True):
        tracker = make_toy(detector=replace(SMALL, dropout=0.3), checkpointing=checkpointing)
        losses, _ = tracker.losses(clips())
        sum(losses.values()).backward()
        found.append([*losses.values(), *(p.grad for p in tracker.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_random_numbers_depend_on_seed_step_and_clip():
    def draw(tracker, *key):
        return torch.rand(3, generator=tracker.generator(*key)).tolist()

    one = ToyTracker()
    assert draw(one, 4, "a") == draw(ToyTracker(), 4, "a")
    assert len({tuple(draw(t, *key)) for t in (one, ToyTracker(seed=1)) for key in ((4, "a"), (4, "b"), (5, "a"))}) == 6


# Training.


def test_logged_losses(tmp_path):
    tracker = make_toy()
    tracker.attach(Mean(weight=0.25))
    fit = trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
    fit.fit(tracker, synthetic())
    logged = {name: value.item() for name, value in fit.callback_metrics.items()}
    own = sum(value for name, value in logged.items() if name.startswith("train/frame_"))
    assert logged["train/loss"] == pytest.approx(own + 0.25 * logged["train/mean/box"], rel=1e-5)
    assert logged["train/mean/note"] == 3


def test_plugin_of_weight_zero_leaves_the_loss_bit_identical():
    """The summation order of torch.sum depends on the number of terms."""

    class Many(ToyTracker):
        def clip_losses(self, batch, ctx):
            losses, clip = super().clip_losses(batch, ctx)
            many = {f"{name}_{n}": loss * (n + 1) / 7 for n in range(2) for name, loss in losses.items()}
            return dict(list(many.items())[:23]), clip

    found = []
    for plugins in ([], [Mean(weight=0)]):
        torch.manual_seed(0)
        tracker = Many()
        for plugin in plugins:
            tracker.attach(plugin)
        tracker.log = lambda *args, **options: None
        data = synthetic(batch_size=1)
        found.append([tracker.training_step(batch, 0) for batch in data.train_dataloader()])
    assert torch.equal(*map(torch.stack, found))


def test_non_finite_loss_raises_an_error(tmp_path):
    class Diverging(ToyTracker):
        def clip_losses(self, batch, ctx):
            losses, clip = super().clip_losses(batch, ctx)
            return losses | {"frame_1_l1": losses["frame_1_l1"] / 0}, clip

    message = r"step 0: the loss is inf \(frame_1_l1\) on clips of synthetic-train-0-\d, synthetic.*; try a lower"
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path).fit(Diverging(), synthetic())


def test_parameter_groups():
    tracker = make_toy(optimizer=OptimizerSettings(lr=1e-3, backbone_scale=0.2, points_scale=0.5))
    tracker.detector.backbone.stem.weight.requires_grad_(False)
    tracker.attach(Mean())
    groups = {group["name"]: group for group in tracker.parameter_groups()}
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx(
        {"backbone": 2e-4, "points": 5e-4, "tracker": 1e-3, "plugins": 1e-3}
    )
    names = {id(parameter): name for name, parameter in tracker.named_parameters()}
    by_group = {key: {names[id(one)] for one in group["params"]} for key, group in groups.items()}
    assert by_group["plugins"] == {"plugins.mean.scale"}, "built without a call of setup"
    assert by_group["backbone"] == {
        name for name in names.values() if "backbone" in name and name != "detector.backbone.stem.weight"
    }
    assert {"detector.reference_points.weight", "detector.reference_points.bias"} <= by_group["points"]
    # One encoder layer and two decoder layers.
    assert len(by_group["points"]) == 2 + 2 * 3
    learning = [name for name, one in tracker.named_parameters() if one.requires_grad]
    assert sorted(name for group in by_group.values() for name in group) == sorted(learning)


class Rates(ToyTracker):
    """Tracker that records the learning rates of every optimizer step."""

    def __init__(self, **base):
        super().__init__(**base)
        self.rates = []

    def on_before_optimizer_step(self, optimizer):
        self.rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})


@pytest.mark.parametrize(("batches", "accumulate"), [(4, 1), (4, 2), (3, 2)])
def test_schedule_counts_optimizer_steps(tmp_path, batches, accumulate):
    """The last batches of an epoch make a step, even if they are fewer than the accumulated ones."""
    settings = OptimizerSettings(lr=0.01, milestones=(1, 2), gamma=0.5, warmup_epochs=1.0)
    tracker = Rates(optimizer=settings)
    fit = trainer(tmp_path, max_epochs=3, limit_val_batches=0, limit_train_batches=batches)
    fit.accumulate_grad_batches = accumulate
    fit.fit(tracker, synthetic())
    steps = math.ceil(batches / accumulate)
    rise = [0.01 * (step + 1) / steps for step in range(steps)]
    assert [one["tracker"] for one in tracker.rates] == pytest.approx(rise + [0.005] * steps + [0.0025] * steps)
    assert all(one["backbone"] == pytest.approx(0.1 * one["tracker"]) for one in tracker.rates)


def test_constant_rate_without_schedule(tmp_path):
    tracker = Rates(optimizer=OptimizerSettings(lr=0.01, weight_decay=0.3))
    fit = trainer(tmp_path, limit_val_batches=0)
    fit.fit(tracker, synthetic())
    assert [one["tracker"] for one in tracker.rates] == [0.01] * 4
    assert {group["weight_decay"] for group in fit.optimizers[0].param_groups} == {0.3}


class SeparateClipping(ToyTracker):
    """Tracker that clips the backbone separately and records the norms after clipping."""

    def __init__(self, **base):
        super().__init__(**base)
        self.norms = []

    def clip_groups(self):
        yield list(self.detector.backbone.parameters())
        yield [one for name, one in self.named_parameters() if not name.startswith("detector.backbone.")]

    def configure_gradient_clipping(self, *args, **options):
        super().configure_gradient_clipping(*args, **options)
        gradients = [[one.grad for one in group if one.grad is not None] for group in self.clip_groups()]
        self.norms = [torch.stack([one.norm() for one in group]).norm().item() for group in gradients]


def test_gradients_are_clipped_per_group(tmp_path):
    options = {"limit_train_batches": 1, "limit_val_batches": 0}
    found = {}
    for limit in (None, 0.02):
        torch.manual_seed(0)
        tracker = SeparateClipping()
        trainer(tmp_path, **options, gradient_clip_val=limit).fit(tracker, synthetic())
        found[limit] = tracker.norms
    assert min(found[None]) > 0.02
    assert found[0.02] == pytest.approx([0.02, 0.02], rel=1e-3)


def test_clipping_by_value_is_rejected(tmp_path):
    fit = trainer(tmp_path, gradient_clip_val=0.1, gradient_clip_algorithm="value")
    with pytest.raises(ValueError, match=r"gradient_clip_algorithm: expected norm, got .*value"):
        fit.fit(make_toy(), synthetic())


# Tracking.


def test_boxes_are_in_pixels_of_the_original_image():
    (batch, *_) = frames()
    tracker = make_toy(width=2).eval()
    tracks = tracker.track(replace(batch, original_size=torch.tensor([[320, 960]])))
    output, _ = tracker.detect(batch.images[:, 0], batch.padding, tracker.plugins.start_clip(training=False).at(0))
    expected = cxcywh_to_xyxy(output.boxes_cxcywh[-1, 0, :2]) * torch.tensor([960, 320, 960, 320])
    torch.testing.assert_close(tracks.boxes_xyxy, expected)
    assert not tracks.boxes_xyxy.requires_grad
    assert tracks.ids.tolist() == [0, 1]


def test_new_sequences_and_earlier_frames_start_a_stream():
    batches = frames(num_val_videos=2, num_frames=4)
    tracker = ScriptedTracker().eval()
    resets = []
    for index in (0, 1, 3, 4, 5, 4, 4, 0):
        tracker.track(batches[index])
        resets.append(tracker.resets)
    assert resets == [1, 1, 1, 2, 2, 3, 4, 5]
    assert [frame for _, _, frame, _ in tracker.seen] == [0, 1, 3, 0, 1, 0, 0, 0], (
        "counted from the start of the stream"
    )
    assert not any(training for *_, training in tracker.seen)


def test_frames_are_counted_from_the_first_of_a_stream():
    tracker = ScriptedTracker().eval()
    for batch in frames()[3:]:
        tracker.track(batch)
    assert [(number, frame) for _, number, frame, _ in tracker.seen] == [(4 + n, n) for n in range(5)]


def test_tracking_requires_single_frames_and_evaluation_mode():
    tracker = make_toy()
    (batch, *_) = frames()
    with pytest.raises(ValueError, match=r"expected a tracker in evaluation mode, .* call eval\(\) first"):
        tracker.track(batch)
    with pytest.raises(ValueError, match="expected one frame of one clip, got 2 of 2"):
        tracker.eval().track(clips())


def test_every_validation_starts_new_streams(tmp_path):
    tracker = ScriptedTracker()
    fit = trainer(tmp_path, max_epochs=2, limit_train_batches=1)
    fit.fit(tracker, synthetic())
    assert tracker.resets == 2
    for stage in (fit.predict, fit.predict, fit.test):
        stage(tracker, synthetic(num_frames=1))  # one frame, so that frame numbers do not reveal the start of a stream
    assert tracker.resets == 5


# Scores.


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_scores_of_perfect_tracks(tmp_path, stage):
    prefix = {"validate": "val", "test": "test"}[stage]
    data = synthetic()
    loader = {"validate": data.val_dataloader, "test": data.test_dataloader}[stage]()
    tracker = perfect(list(loader))
    (logged,) = getattr(trainer(tmp_path), stage)(tracker, data, verbose=False)
    for name in ("HOTA", "MOTA", "IDF1"):
        assert logged[f"{prefix}/{name}"] == pytest.approx(100)
    assert logged[f"{prefix}/IDSW"] == 0
    # The second run must not include the frames of the first.
    assert getattr(trainer(tmp_path), stage)(tracker, data, verbose=False) == [logged]


def test_scores_of_an_identity_switch(tmp_path):
    batches = list(synthetic().val_dataloader())
    tracker = perfect(batches)
    last = max(tracker.script)
    ids, boxes = tracker.script[last]
    tracker.script[last] = ids + 100, boxes
    (logged,) = trainer(tmp_path).validate(tracker, synthetic(), verbose=False)
    assert logged["val/IDSW"] == len(ids)
    assert logged["val/MOTA"] < 100


def test_prediction_without_ground_truth(tmp_path):
    folder = SyntheticVideo(num_videos=1, num_frames=3, image_size=(32, 48)).save(tmp_path / "root", 0)
    (folder / "gt" / "gt.txt").unlink()
    data = MOTDataModule(predict=tmp_path / "root", benchmark="generic")
    tracks = trainer(tmp_path).predict(make_toy(), data)
    assert [len(one) for one in tracks] == [3, 3, 3]
    with pytest.raises(ValueError, match="synthetic-val-0-0 has no ground truth to score against; use predict"):
        make_toy().eval().validation_step(replace(frames()[0], targets=None), 0)


def distractor_folder(tmp_path):
    """A MOT17 sequence with a static person, a distractor, as second object."""
    video = SyntheticVideo(num_videos=1, num_frames=4, image_size=(32, 48), num_objects=(3, 3), seed=5)
    folder = video.save(tmp_path / "MOT17-02-FRCNN", 0)
    rows = [line.split(",") for line in (folder / "gt" / "gt.txt").read_text().split()]
    for row in rows:
        if row[1] == "2":
            row[6], row[7] = "0", "7"
    (folder / "gt" / "gt.txt").write_text("".join(",".join(row) + "\n" for row in rows))
    return folder, sum(row[1] == "2" for row in rows)


def test_tracks_on_distractors_are_ignored(tmp_path):
    folder, count = distractor_folder(tmp_path)
    assert count
    data = MOTDataModule(train=folder, val=folder, benchmark="MOT17")
    batches = list(data.val_dataloader())
    tracker = perfect(batches)
    for batch in batches:
        truth, number = batch.targets[0], int(batch.times[0, 0])
        assert 2 not in truth.ids[0][truth.valid[0]]
        ids, boxes = tracker.script[number]
        ignored = truth.boxes_cxcywh[0][truth.extras["ignore"][0]]
        tracker.script[number] = torch.cat([ids, torch.full((len(ignored),), 50)]), torch.cat([boxes, ignored])
    (logged,) = trainer(tmp_path).validate(tracker, data, verbose=False)
    assert logged["val/MOTA"] == logged["val/HOTA"] == pytest.approx(100)
    away = torch.tensor([[0.02, 0.02, 0.03, 0.03]])
    ids, boxes = tracker.script[1]
    tracker.script[1] = torch.cat([ids, torch.tensor([60])]), torch.cat([boxes, away])
    (logged,) = trainer(tmp_path).validate(tracker, data, verbose=False)
    assert logged["val/FP"] == 1
