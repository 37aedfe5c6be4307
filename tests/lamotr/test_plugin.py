"""The plug-in on trackers with track queries (MOTR, MeMOTR) and without (MOTIP, ByteTrack with a detector)."""

import pytest
import torch

from _helpers.trackers.motr_clips import batch_of, images_of, seen_clip, tiny_memotr, tiny_motr
from _helpers.trackers.tracker_cases import batches, make
from lamotr import LAMOTRPlugin, association_loss, association_targets
from mot_core.slots import slot_ids
from mot_core.structures import TrackState

SGLA = {"num_heads": 2, "num_layers": 2, "ffn_dim": 16}
KEEP = {"exclude": "none", "demote": False}
BUILD = {"motr": tiny_motr, "memotr": tiny_memotr, "memotr without anchors": lambda *a: tiny_memotr(*a, use_dab=False)}
EACH = pytest.mark.parametrize("name", BUILD)


def build(name, **options):
    plugin = LAMOTRPlugin(**({"sgla": SGLA} | KEEP | options))
    return BUILD[name](plugin), plugin


@EACH
def test_tracks_and_loss_of_a_clip(name):
    """All objects are detected again, the tracks are carried, and the loss is that of the scores."""
    tracker, plugin = build(name)
    batch = seen_clip(tracker, [[0, 1], [0, 1, 2], [0, 1, 2]])
    seen = []
    handle = plugin.association.sgla.register_forward_hook(lambda module, given, output: seen.append(output))
    losses, clip = tracker.losses(batch)
    handle.remove()
    expected = 0
    for time, frame in enumerate(clip.frames):
        objects = frame.gt_index[0, :8]
        assert sorted(objects[objects >= 0].tolist()) == [[0, 1], [0, 1, 2], [0, 1, 2]][time]
        assert sorted(frame.track_ids[frame.is_track].tolist()) == [[], [0, 1], [0, 1, 2]][time]
        if time:
            target = association_targets(frame.gt_index[:, :8], frame.gt_index[:, 8:])
            expected = expected + association_loss(seen[time].score_logits, target)
    assert losses["lamotr/loss"].item() == pytest.approx(10 * expected.item())


@EACH
def test_parameters_without_use_are_only_those_of_the_trackers_own_update(name):
    tracker, _ = build(name)
    losses, _ = tracker.losses(seen_clip(tracker, [[0, 1], [0, 1]]))
    sum(losses.values()).backward()
    named = [(key, one) for key, one in tracker.named_parameters() if one.requires_grad]
    assert not [key for key, one in named if one.grad is None]
    assert all(one.grad.any() for key, one in named if "association.sgla.head" in key)


@EACH
def test_tracking_by_scores(name):
    """With a threshold of 0, every detection is born, and no second time as long as it belongs to a track."""
    rules = {"detection_threshold": 0.001, "track_threshold": 0.001, "association_threshold": 0.0001}
    tracker, _ = build(name, rules=rules)
    tracker.float().eval()
    tracker.report_threshold = 0.0
    images = images_of(0, 3).float()
    found = [tracker.track(batch_of(images[:, time : time + 1], first=time + 1)).ids.tolist() for time in range(3)]
    assert found == [list(range(8))] * 3
    assert tracker.track(batch_of(images[:, :1], name="next")).ids.tolist() == list(range(8))


def test_weight_zero_requests_nothing():
    tracker, _ = build("motr", weight=0.0)
    assert tracker.options == tiny_motr().options


@pytest.mark.parametrize("name", ["motip", "yolox_bytetrack"])
def test_loss_of_trackers_without_track_queries(name):
    """The tracklets of a frame are the last detections of all identities before it."""
    plugin = LAMOTRPlugin(weight=1.0, sgla=SGLA, min_score=0.0)
    tracker = make(name, plugin)
    losses, clip = tracker.losses(batches()[0])
    total, count = 0.0, 0
    for row in range(len(clip.frames[0].valid)):
        memory = {}
        for time, (frame, targets) in enumerate(zip(clip.frames, clip.targets, strict=True)):
            ids = slot_ids(frame, targets, unique=True)[row].tolist()
            slots = frame.valid[row].nonzero().squeeze(1)
            if time and memory:
                embeds, boxes = (torch.stack(part)[None] for part in zip(*memory.values(), strict=True))
                scores = plugin.association.scores(
                    frame.embeddings[row, slots][None], embeds, frame.boxes_cxcywh[row, slots][None], boxes,
                    torch.zeros(1, len(slots)).bool(), torch.zeros(1, len(memory)).bool(),
                )  # fmt: skip
                for line, slot in enumerate(slots.tolist()):
                    for column, identity in enumerate(memory):
                        label = torch.tensor(float(ids[slot] == identity))
                        value = torch.nn.functional.binary_cross_entropy_with_logits(scores[0, line, column], label)
                        total, count = total + value.item(), count + 1
            for slot, identity in enumerate(ids):
                if identity >= 0:
                    memory[identity] = frame.embeddings[row, slot], frame.boxes_cxcywh[row, slot]
    assert losses["lamotr/loss"].item() == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize("name", ["motip", "yolox_bytetrack"])
def test_scores_replace_the_association(name):
    plugin = LAMOTRPlugin(sgla=SGLA)
    tracker = make(name, plugin).eval()
    tracker.setup()
    frame = tracker.losses(batches()[0])[1].frames[0]
    some = frame.boxes_cxcywh[:, :2].detach()
    ids = torch.tensor([[4, 7], [1, -1]])
    tracks = TrackState(ids, ids >= 0, some, embeddings=frame.embeddings[:, :2].detach())
    ctx = tracker.plugins.start_clip(training=False)
    scores = tracker.plugins.on_associate(frame, tracks, ctx.at(1))
    assert scores.shape == (2, 2, frame.valid.shape[1])
    assert (scores[1, 1] == 0).all()
    assert (scores[tracks.valid][:, frame.valid[0]] > 0).any()
    logits = plugin.association.scores(
        frame.embeddings, tracks.embeddings, frame.boxes_cxcywh, some, ~frame.valid, ~tracks.valid
    )
    torch.testing.assert_close(scores[0, 0], logits[0, :, 0].sigmoid().where(frame.valid[0], 0))
    with pytest.raises(ValueError, match="tracks: expected embeddings and boxes_cxcywh, got None"):
        tracker.plugins.on_associate(frame, TrackState(ids, ids >= 0), ctx.at(2))


def test_the_tracker_of_the_paper_needs_no_plugin():
    tracker = make("lamotr", LAMOTRPlugin())
    with pytest.raises(ValueError, match="expected another tracker, got LAMOTR"):
        tracker.setup()


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"min_score: expected a number in \[0, 1\], got 2"):
        LAMOTRPlugin(min_score=2)
    with pytest.raises(ValueError, match="pairs: expected all or foreground, got 'some'"):
        LAMOTRPlugin(pairs="some")
