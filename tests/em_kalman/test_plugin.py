"""Plug-in and callback on trackers: appearance learned from motion, without reading identities."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from _helpers.em_kalman_scenes import make_distance_model
from _helpers.trackers.small_tracker import SmallTracker, make_batch
from _helpers.trackers.tracker_cases import DETR_TRACKERS, batches, make
from em_kalman import EMKalmanPlugin, NeuralKalmanFilter, save_model
from em_kalman.plugin import window_batch
from mot_core.cli import main
from mot_core.plugins import Plugins, load_plugin
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec

TERMS = {"nll_per_det", "unexplained", "assoc_entropy", "gate_violations", "num_detections"}
EACH_TRACKER = pytest.mark.parametrize("name", DETR_TRACKERS)


def plugin(**options):
    return EMKalmanPlugin(
        **({"weight": 0.5, "warmup_steps": 0, "min_score": 0.0, "model": make_distance_model()} | options)
    )


@EACH_TRACKER
@pytest.mark.parametrize("checkpointing", [False, True])
def test_backbone_is_trained(name, checkpointing):
    tracker = make(name, plugin(), checkpointing=checkpointing)
    logged = {}
    losses, _ = tracker.losses(batches()[0], log=logged.__setitem__)
    assert {f"em_kalman/{term}" for term in TERMS} <= logged.keys()
    assert logged["em_kalman/num_detections"] > 0
    assert losses["em_kalman/loss"].item() == pytest.approx(0.5 * logged["em_kalman/loss"].item())
    losses["em_kalman/loss"].backward()
    gradient = tracker.detector.backbone.stem.weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    trained = {key for key, one in tracker.plugins.named_parameters() if one.requires_grad}
    assert trained == {"em_kalman.appearance"}, "the association network must be frozen"
    assert tracker.plugins["em_kalman"].appearance.grad.abs() > 0


def clip(boxes=None, embeddings=None, score=0.9, seed=0):
    """Create two clips of four frames with three slots."""
    rng = torch.Generator().manual_seed(seed)
    boxes = 0.3 + 0.3 * torch.rand(4, 2, 3, 4, generator=rng) if boxes is None else boxes
    embeddings = torch.randn(4, 2, 3, 8, generator=rng) if embeddings is None else embeddings
    logits = torch.full((2, 3, 1), score).logit()
    valid, size = torch.ones(2, 3).bool(), torch.tensor([[480, 640], [240, 320]])
    return ClipOutput(
        [
            FrameOutput(box, logits, valid, size, torch.tensor([time, time + 7]), embeddings=one)
            for time, (box, one) in enumerate(zip(boxes, embeddings, strict=True))
        ]
    )


def loss_of(one, clip):
    plugins = Plugins(one)
    plugins.setup(TrackerSpec("made-up", frozenset({"embeddings"})))
    return plugins.losses(clip, plugins.start_clip(training=True))["em_kalman/loss"]


def test_gradient_reaches_embeddings_and_not_the_boxes():
    for detach in (True, False):
        base = clip()
        boxes = torch.stack([frame.boxes_cxcywh for frame in base.frames]).requires_grad_()
        embeddings = torch.stack([frame.embeddings for frame in base.frames]).requires_grad_()
        loss_of(plugin(detach_boxes=detach), clip(boxes, embeddings)).backward()
        assert embeddings.grad.abs().sum() > 0
        assert (boxes.grad is None) == detach


def test_logit_is_the_sum_of_boxes_and_embeddings():
    """Compare with model and loss, pair by pair."""
    one, given = plugin(weight=1.0), clip(embeddings=torch.randn(4, 2, 3, 8).requires_grad_())
    with torch.no_grad():
        one.appearance.fill_(2.5)
    batch = window_batch(given)
    extra = torch.zeros(2, 3, 3, 3)
    for b in range(2):
        for t in range(3):
            for i in range(3):
                for j in range(3):
                    pair = batch.embeddings[b, t, i], batch.embeddings[b, t + 1, j]
                    extra[b, t, i, j] = 2.5 * torch.cosine_similarity(*pair, dim=0)
    expected = one.loss(one.model(batch, extra_logits=extra), batch)["loss"]
    assert loss_of(one, given).item() == pytest.approx(expected.item(), rel=1e-5)
    assert batch.boxes_xyxy[1, 0, 0, 2] <= 320
    assert batch.frames.tolist() == [[0, 1, 2, 3], [7, 8, 9, 10]]


def test_identities_are_not_read():
    """Change the identities of MOTIP's targets end to end, and those of a clip."""
    first = batches()[0]
    other = replace(first, targets=[replace(one, ids=(one.ids + 3).flip(1)) for one in first.targets])
    values = [make("motip", plugin()).losses(batch)[0]["em_kalman/loss"] for batch in (first, other)]
    assert torch.equal(*values)
    given = clip(embeddings=torch.randn(4, 2, 3, 8).requires_grad_())
    noise = [
        replace(
            frame,
            track_ids=torch.randint(0, 9, (2, 3)),
            gt_index=torch.randint(0, 3, (2, 3)),
            is_track=torch.rand(2, 3) > 0.5,
        )
        for frame in given.frames
    ]
    assert torch.equal(loss_of(plugin(), given), loss_of(plugin(), ClipOutput(noise)))


@pytest.mark.parametrize("score", [0.9, 0.1])
def test_zero_loss_without_detections(score):
    """Slots that are padded or below the score have no effect, whatever they hold."""
    embeddings = torch.randn(4, 2, 3, 8).requires_grad_()
    given = clip(embeddings=embeddings, score=score)
    loss = loss_of(plugin(min_score=0.5), given)
    loss.backward()
    assert loss.isfinite()
    assert bool(embeddings.grad.any()) == (score > 0.5)
    padded = [
        replace(
            frame,
            boxes_cxcywh=torch.cat([frame.boxes_cxcywh, torch.full((2, 1, 4), torch.nan)], 1),
            logits=torch.cat([frame.logits, torch.full((2, 1, 1), 9.0)], 1),
            embeddings=torch.cat([frame.embeddings, torch.full((2, 1, 8), torch.nan)], 1),
            valid=torch.tensor([[True, True, True, False]]).expand(2, 4),
            is_track=None,
            track_ids=None,
            gt_index=None,
        )
        for frame in given.frames
    ]
    assert torch.equal(loss_of(plugin(min_score=0.5), ClipOutput(padded)), loss)


def steps(name, *plugins, **options):
    """Return losses, gradients and weights of three steps, excluding the plug-in's."""
    tracker = make(name, *plugins, **options)
    optimizer = torch.optim.SGD(tracker.parameters(), lr=1e-3)
    found = []
    for step, batch in enumerate(batches()):
        losses, _ = tracker.losses(batch, step=step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found += [value for key, value in losses.items() if not key.startswith("em_kalman")]
        found += [one.grad.clone() for key, one in tracker.named_parameters() if own(key) and one.grad is not None]
    return [*found, *(value for key, value in tracker.state_dict().items() if own(key))]


def own(key):
    return not key.startswith("plugins.")


def test_warm_up():
    tracker = SmallTracker(plugin(weight=4.0, warmup_steps=2), dropout=0.0)
    values = [tracker(*make_batch(), step=step)[1]["em_kalman/loss"].item() for step in range(4)]
    assert values[0] == 0
    assert values[2] == values[3] == pytest.approx(2 * values[1])


def crowd(rng, clips=4, objects=6, frames=6, height=60.0):
    """Crowded objects, too fast for IoU; half of their appearance features are constant, the rest is noise."""
    place = torch.rand(clips, objects, 2, generator=rng) * torch.tensor([3 * height, 2 * height]) + 200
    speed = height / 4 * torch.randn(clips, objects, 2, generator=rng)
    look = torch.randn(clips, objects, 4, generator=rng)
    side = torch.tensor([0.4 * height / 640, height / 480]).expand(clips, objects, 2)
    found = []
    for time in range(frames):
        center = place + speed * time + torch.randn(place.shape, generator=rng)
        boxes = torch.cat([center / torch.tensor([640, 480]), side], -1)
        seen = torch.cat([look, 3 * torch.randn(look.shape, generator=rng)], -1)
        ids = torch.stack([torch.randperm(objects, generator=rng) for _ in range(clips)])
        found.append((*(value[torch.arange(clips)[:, None], ids] for value in (boxes, seen)), ids))
    return found


def share_told_apart(network):
    """Return the share of detections whose nearest embedding in the next frame is the same object."""
    found, right = crowd(torch.Generator().manual_seed(99), clips=32), []
    for (_, before, ids), (_, after, next_ids) in pairwise(found):
        one, other = (nn.functional.normalize(network(seen), dim=-1) for seen in (before, after))
        right.append(next_ids.gather(1, (one @ other.transpose(1, 2)).argmax(2)) == ids)
    return torch.stack(right).float().mean().item()


def test_appearance_learned_from_motion():
    """No labels exist: 0.22 -> 0.96 to 0.98 (seeds 0 to 2); chance is 1 / 6."""
    torch.manual_seed(0)
    network, model = nn.Linear(8, 8, bias=False), make_distance_model(-20.0)
    with torch.no_grad():
        model.network.layers[2].weight.fill_(-10.0)  # uncertain, because objects are near each other
    one = plugin(weight=1.0, model=model)
    plugins = Plugins(one)
    plugins.setup(TrackerSpec("made-up", frozenset({"embeddings"})))
    assert share_told_apart(network) < 0.3
    optimizer = torch.optim.Adam([*network.parameters(), one.appearance], lr=0.03)
    rng, given = torch.Generator().manual_seed(0), (torch.ones(4, 6).bool(), torch.tensor([[480, 640]] * 4))
    for step in range(150):
        frames = [
            FrameOutput(boxes, torch.full((4, 6, 1), 3.0), *given, torch.full((4,), time), embeddings=network(seen))
            for time, (boxes, seen, _) in enumerate(crowd(rng))
        ]
        losses = plugins.losses(ClipOutput(frames), plugins.start_clip(training=True, step=step))
        optimizer.zero_grad()
        losses["em_kalman/loss"].backward()
        optimizer.step()
    assert share_told_apart(network) > 0.9
    assert one.appearance > 2


def test_invalid_arguments(tmp_path):
    with pytest.raises(ValueError, match="EMKalmanPlugin: expected a trained model, got none; pass checkpoint"):
        EMKalmanPlugin()
    with pytest.raises(FileNotFoundError, match="file not found"):
        EMKalmanPlugin(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match="expected a dustbin and no embeddings"):
        plugin(model=NeuralKalmanFilter(embeddings=True))
    with pytest.raises(ValueError, match="min_score must be from 0 to 1, got 2"):
        plugin(min_score=2)
    with pytest.raises(ValueError, match="needs a tracker that provides an embedding per slot"):
        Plugins(plugin()).setup(TrackerSpec("none", frozenset({"live_boxes"})))
    one = clip(embeddings=torch.randn(4, 2, 3, 8).requires_grad_())
    with pytest.raises(ValueError, match="expected windows of at least 2 frames, got 1"):
        loss_of(plugin(), ClipOutput(one.frames[:1]))
    assert load_plugin("em_kalman") is EMKalmanPlugin


CONFIG = """
model:
  class_path: MOTR
  init_args:
    detector: {backbone: small, num_queries: 5, embed_dim: 32, ffn_dim: 32, num_levels: 3, num_encoder_layers: 1,
               num_decoder_layers: 2}
data:
  class_path: SyntheticDataModule
  init_args: {num_videos: 2, num_val_videos: 1, num_frames: 4, image_size: [48, 80], clip_length: 2, stride: 4}
trainer: {accelerator: cpu, max_epochs: 1, limit_val_batches: 0, log_every_n_steps: 1, enable_model_summary: false}
"""


def test_callback_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(name, "0")
    (tmp_path / "small.yaml").write_text(CONFIG)
    save_model(make_distance_model(), tmp_path / "model.pt")
    arguments = ["fit", "--config", "small.yaml", "--output", "run", "--trainer.callbacks+=EMKalmanCallback"]
    assert main([*arguments, "--trainer.callbacks.checkpoint=model.pt", "--trainer.callbacks.min_score=0"]) == 0
    (table,) = (tmp_path / "run" / "version_0").glob("**/metrics.csv")
    assert "train/em_kalman/nll_per_det" in table.read_text().splitlines()[0]
    capsys.readouterr()
    assert main([*arguments, "--trainer.callbacks.checkpoint=none.pt"]) == 1
    assert "mot: error: none.pt: file not found; train a model" in capsys.readouterr().err
