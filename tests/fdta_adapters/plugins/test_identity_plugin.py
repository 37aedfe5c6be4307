"""Identity adapter on trackers: identities and qualities of a clip, warm-up, absence in tracking."""

import pytest
import torch

from _helpers import fdta_reference as reference
from _helpers.trackers.tracker_cases import EAGER, batches, make, synthetic
from fdta_adapters import IdentityAdapter, IdentityAdapterPlugin
from mot_core.boxes import cxcywh_to_xyxy, pairwise_giou
from mot_core.plugins import Plugins
from mot_core.slots import slot_iou
from mot_core.structures import ClipOutput, FrameOutput, FrameTargets, TrackerSpec
from mot_core.trackers import Tracker


def identity(**options):
    return IdentityAdapterPlugin(**({"start_epoch": 0} | options))


def scripted(clips=2, frames=3, width=6, seed=0):
    """A clip of scripted slots, near ground-truth boxes, with identities that repeat between clips."""
    random = torch.Generator().manual_seed(seed)
    outputs, targets = [], []
    for time in range(frames):
        boxes = torch.rand(clips, 3, 4, generator=random) * 0.4 + 0.2
        ids = torch.tensor([[4, 9, -1]]).repeat(clips, 1)
        targets.append(FrameTargets(boxes, ids * 0, ids, ids > -2))
        gt_index = torch.stack([torch.randperm(5, generator=random) for _ in range(clips)])
        gt_index = gt_index.where(gt_index < 3, -1)
        near = boxes[torch.arange(clips)[:, None], gt_index.clamp(min=0)]
        near = near + 0.03 * torch.randn(near.shape, generator=random)
        outputs.append(
            FrameOutput(
                near, torch.zeros(clips, 5, 1), torch.ones(clips, 5).bool(), torch.ones(clips, 2),
                torch.full((clips,), time), gt_index=gt_index,
                embeddings=torch.randn(clips, 5, width, generator=random).requires_grad_(),
            )
        )  # fmt: skip
    return ClipOutput(outputs, targets)


def setup(plugin, width=6):
    plugins = Plugins(plugin)
    plugins.setup(TrackerSpec("scripted", frozenset({"ids", "embeddings"}), embed_dim=width))
    reference.randomize(plugin)
    return plugins


@pytest.mark.parametrize("quality", ["iou", "giou"])
def test_loss_equals_a_loop_over_slots(quality):
    """Identities of different clips differ, unknown ones are left out, and the overlap is that with the own object."""
    clip, plugin = scripted(), identity(quality=quality)
    plugins, logged = setup(plugin), {}
    ctx = plugins.start_clip(training=True, log=logged.__setitem__)
    found = plugins.losses(clip, ctx)["fdta_identity/loss"]
    rows, ids, overlaps = [], [], []
    for frame, truth in zip(clip.frames, clip.targets, strict=True):
        for b in range(2):
            for slot, index in enumerate(frame.gt_index[b].tolist()):
                if index < 0 or truth.ids[b, index] < 0:
                    continue
                rows.append(frame.embeddings[b, slot])
                ids.append(100 * b + truth.ids[b, index].item())
                boxes = cxcywh_to_xyxy(torch.stack([frame.boxes_cxcywh[b, slot], truth.boxes_cxcywh[b, index]]))
                overlap = slot_iou(frame, truth)[b, slot]
                overlaps.append((pairwise_giou(boxes[:1], boxes[1:])[0, 0] if quality == "giou" else overlap).item())
    z = plugin.adapter.head(torch.stack(rows))
    torch.testing.assert_close(found, reference.contrastive(z, ids, overlaps), rtol=1e-4, atol=1e-5)
    assert len(ids) == 12
    assert logged["fdta_identity/pairs"] > 0
    assert 0 <= logged["fdta_identity/similarity_above_0.9"] <= 1
    found.backward()
    assert all(frame.embeddings.grad is not None for frame in clip.frames)


def test_equal_identities_of_different_clips_are_not_positives():
    clip = scripted(frames=1)
    plugins, logged = setup(identity(min_quality=1e-3)), {}
    plugins.losses(clip, plugins.start_clip(training=True, log=logged.__setitem__))
    assert logged["fdta_identity/pairs"] == 0, "one frame has no pairs, although both clips have the same identities"


def test_clips_of_one_video_are_not_rivals():
    """Two clips of one video have the loss of both clips alone, weighted by their pairs."""
    whole = scripted()
    plugins = setup(identity(weighting="none", min_quality=0.0))

    def compute(rows, names):
        pick = slice(rows[0], rows[-1] + 1)
        frames = [
            FrameOutput(
                *(getattr(one, name)[pick] for name in ("boxes_cxcywh", "logits", "valid", "image_size", "time")),
                gt_index=one.gt_index[pick],
                embeddings=one.embeddings[pick],
            )
            for one in whole.frames
        ]
        targets = [
            FrameTargets(one.boxes_cxcywh[pick], one.labels[pick], one.ids[pick], one.valid[pick])
            for one in whole.targets
        ]
        logged = {}
        ctx = plugins.start_clip(training=True, log=logged.__setitem__)
        value = plugins.losses(ClipOutput(frames, targets, names), ctx)["fdta_identity/loss"]
        return value, logged["fdta_identity/pairs"]

    (first, few), (second, more) = (compute([row], ["street"]) for row in (0, 1))
    together, pairs = compute([0, 1], ["street", "street"])
    assert pairs == few + more
    torch.testing.assert_close(together, (first * few + second * more) / pairs)
    assert compute([0, 1], ["street", "station"])[0] > together, "clips of different videos have more rivals"
    assert torch.equal(compute([0, 1], None)[0], compute([0, 1], ["street", "station"])[0])


def test_reported_similarity_compares_objects_of_one_frame():
    clip, logged = scripted(), {}
    for frame in clip.frames:
        frame.embeddings.data[:] = torch.tensor([1.0, -1.0])[:, None, None]  # opposite between clips
    plugins = setup(identity())
    plugins.losses(clip, plugins.start_clip(training=True, log=logged.__setitem__))
    assert logged["fdta_identity/similarity_above_0.9"] == 1


def test_start_epoch():
    """Before it, the loss is exactly 0 and reaches no embedding, but all parameters stay in the graph."""
    for epoch in (0, 1, 2):
        clip = scripted()
        plugins = setup(identity(start_epoch=2))
        loss = plugins.losses(clip, plugins.start_clip(training=True, epoch=epoch))["fdta_identity/loss"]
        loss.backward()
        started = epoch == 2
        assert (loss.item() != 0) == started
        assert all(one.grad is not None for one in plugins.parameters())
        assert any(bool(one.grad.any()) for one in plugins.parameters()) == started
        assert any(one.embeddings.grad is not None and one.embeddings.grad.any() for one in clip.frames) == started


def test_warmup_steps():
    clip = scripted()
    plugins = setup(identity(weight=2.0, warmup_steps=10))
    losses = [
        plugins.losses(clip, plugins.start_clip(training=True, step=step))["fdta_identity/loss"].item()
        for step in (0, 5, 10)
    ]
    assert losses[0] == 0
    assert losses[2] == pytest.approx(2 * losses[1])


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_absent_in_tracking(name, monkeypatch):
    """No module of the adapter runs, outputs are bit-identical, and the rebuilt tracker has none of its weights."""
    monkeypatch.setattr(IdentityAdapter, "forward", None)  # calling it would raise
    found = []
    for plugins in ([], [identity()]):
        tracker = make(name, *plugins, **EAGER[name]).eval()
        tracker.setup()
        data = synthetic()
        data.setup("validate")
        found.append([one for batch in data.val_dataloader() for one in vars(tracker.track(batch)).values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert tracker.plugins.tracking() == {"fdta_identity": False}


def test_absent_from_the_rebuilt_tracker(tmp_path):
    tracker, content = make("motip", identity()), {}
    tracker.setup()
    tracker.on_save_checkpoint(content)
    torch.save({**content, "state_dict": tracker.state_dict()}, tmp_path / "a.ckpt")
    assert any("identity" in name for name in tracker.state_dict())
    rebuilt = Tracker.from_checkpoint(tmp_path / "a.ckpt")
    assert not any("identity" in name for name in rebuilt.state_dict())
    again = Tracker.from_checkpoint(tmp_path / "a.ckpt", identity())
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in tracker.state_dict().items())


def test_frames_without_gradient_take_part():
    """Embeddings of MOTIP's frames without gradient are positives and negatives of the others."""
    batch, logged = batches()[0], {}
    tracker = make("motip", identity(min_quality=0.0, weighting="none"), gradient_frames=1)
    tracker.losses(batch, log=logged.__setitem__)
    present = torch.stack([frame.ids.where(frame.valid, -1) for frame in batch.targets])
    pairs = 0
    for clip in range(len(batch)):
        for one in present[:, clip].unique():
            count = int((present[:, clip] == one).sum())
            pairs += count * (count - 1) if one >= 0 else 0
    assert logged["fdta_identity/pairs"] == pairs > 0


def test_empty_frames():
    clip = scripted()
    for frame in clip.frames:
        frame.gt_index.fill_(-1)
    plugins = setup(identity())
    loss = plugins.losses(clip, plugins.start_clip(training=True))["fdta_identity/loss"]
    assert loss.item() == 0
    loss.backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_epoch": -1}, "start_epoch: expected at least 0, got -1"),
        ({"tau": -0.1}, "tau: expected a positive number, got -0.1"),
        ({"reduction": "max"}, "reduction: expected pair or anchor, got 'max'"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        IdentityAdapterPlugin(**arguments)
