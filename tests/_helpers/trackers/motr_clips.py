"""Tiny trackers with track queries and random weights, and clips with objects at their predictions."""

import pytest
import torch

from lamotr import SGLASettings
from lamotr.lightning import LAMOTR
from mot_core.structures import ClipBatch, FrameTargets
from mot_core.trackers import MOTE, MOTR, DetectorSettings, MeMOTR, TrackFormer

TINY = DetectorSettings(
    "small", num_queries=8, embed_dim=32, num_heads=4, ffn_dim=32, num_levels=3, num_encoder_layers=1,
    num_decoder_layers=2,
)  # fmt: skip
HEIGHT, WIDTH = 64, 96


def tiny_motr(*plugins, seed=0, **arguments):
    """Build a MOTR in float64 and training mode, with queries and boxes spread over the image."""
    torch.manual_seed(seed)
    return _spread(MOTR(TINY, **arguments).double(), plugins)


def tiny_mote(*plugins, seed=0, **arguments):
    """Build a MOTE like :func:`tiny_motr`."""
    torch.manual_seed(seed)
    return _spread(MOTE(TINY, **arguments).double(), plugins)


def tiny_memotr(*plugins, seed=0, **arguments):
    """Build a MeMOTR like :func:`tiny_motr`, whose tracks update their queries whatever their score."""
    torch.manual_seed(seed)
    return _spread(MeMOTR(TINY, **({"update_threshold": 0.0} | arguments)).double(), plugins)


def tiny_lamotr(*plugins, seed=0, sgla=None, **arguments):
    """Build an LA-MOTR like :func:`tiny_motr`, whose tracks are kept whatever their score."""
    torch.manual_seed(seed)
    sgla = SGLASettings(32, 4, 2, 32, **(sgla or {}))
    return _spread(LAMOTR(TINY, **({"sgla": sgla, "exclude": "memotr"} | arguments)).double(), plugins)


def tiny_trackformer(*plugins, seed=0, **arguments):
    """Build a TrackFormer like :func:`tiny_motr`."""
    torch.manual_seed(seed)
    return _spread(TrackFormer(TINY, **arguments).double(), plugins)


def _spread(tracker, plugins):
    if tracker.detector.reference_points is not None:
        torch.nn.init.normal_(tracker.detector.reference_points.weight, std=0.5)
    for head in tracker.detector.decoder.box_heads:
        torch.nn.init.normal_(head.layers[-1].weight, std=0.3)
    for plugin in plugins:
        tracker.attach(plugin)
    tracker.setup()
    return tracker.double()  # with the modules of plug-ins


def targets_of(objects):
    """Return the ground truth of one clip from ``{identity: box}``; negative identities are unknown."""
    ids = torch.tensor([[max(one, -1) for one in objects]], dtype=torch.int64)
    boxes = torch.stack(list(objects.values()))[None] if objects else torch.zeros(1, 0, 4, dtype=torch.float64)
    return FrameTargets(boxes, torch.zeros_like(ids), ids, torch.ones_like(ids, dtype=torch.bool))


def images_of(seed, frames):
    return torch.randn(1, frames, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_of(images, targets=None, name="clip", first=1):
    frames = images.shape[1]
    size = torch.tensor([[HEIGHT, WIDTH]])
    return ClipBatch(
        images, torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool), size, 10 * size,
        first + torch.arange(frames)[None], (name,), None if targets is None else tuple(targets),
    )  # fmt: skip


def follow(tracker, batch, step=0):
    """Return the results of the tracker for every frame."""
    ctx = tracker.plugins.start_clip(training=tracker.training, step=step)
    return list(tracker.follow(batch, ctx))


def seen_clip(tracker, schedule, seed=1, name="clip"):
    """Return a clip with identities ``schedule[t]`` in frame t, each near the box of its track or of a free slot."""
    images, targets = images_of(seed, len(schedule)), []
    for time, present in enumerate(schedule):
        # The matching of a frame does not change its predictions.
        so_far = batch_of(images[:, : time + 1], [*targets, targets_of({})], name)
        frame = follow(tracker, so_far)[time][0]
        carried = frame.track_ids[0].tolist()
        rows = {one: carried.index(one) if one in carried else one for one in present}
        targets.append(targets_of({one: 1.01 * frame.boxes_cxcywh[0, row].detach() for one, row in rows.items()}))
    return batch_of(images, targets, name)


def merge(*batches):
    """Merge clips of equal length into a batch with padded objects."""
    targets = []
    for frames in zip(*(batch.targets for batch in batches), strict=True):
        count = max(frame.ids.shape[1] for frame in frames)

        def pad(name, fill, frames=frames, count=count):
            rows = []
            for frame in frames:
                value = getattr(frame, name)
                empty = value.new_full((1, count - value.shape[1], *value.shape[2:]), fill)
                rows.append(torch.cat([value, empty], 1))
            return torch.cat(rows)

        targets.append(FrameTargets(pad("boxes_cxcywh", 0), pad("labels", 0), pad("ids", -1), pad("valid", False)))
    return ClipBatch(
        *(torch.cat([getattr(batch, name) for batch in batches]) for name in ClipBatch.SHAPES),
        tuple(name for batch in batches for name in batch.sequences), tuple(targets),
    )  # fmt: skip


def tracks_in(steps):
    """Return the identities carried into each frame, in order; -1 for tracks without identity."""
    return [frame.track_ids[frame.is_track].tolist() for frame, _, _ in steps]


def make_two(tracker):
    """Return two clips of equal length with different objects."""
    one = seen_clip(tracker, [[0, 1, 2, 3], [0, 1, 2, 3], [0, 2, 3, 5]], seed=1, name="one")
    return one, seen_clip(tracker, [[4], [], [4, 6]], seed=2, name="two")


def assert_batch_equals_clips(tracker, alone, *, loss_rtol, box_tolerance=None):
    """Check that frames and losses of a batch are those of its clips, which have different numbers of tracks."""
    assert len({tuple(map(len, tracks_in(follow(tracker, batch)))) for batch in alone}) == 2, (
        "different numbers of tracks"
    )
    together, separate = follow(tracker, merge(*alone)), [follow(tracker, batch) for batch in alone]
    for time, (frame, layers, count) in enumerate(together):
        assert count == sum(steps[time][2] for steps in separate)
        for layer, losses in enumerate(layers):
            for name, value in losses.items():
                expected = sum(steps[time][1][layer][name].item() for steps in separate)
                assert value.item() == pytest.approx(expected, rel=loss_rtol), (time, layer, name)
        for clip, steps in enumerate(separate):
            own = steps[time][0]
            slots = own.valid.shape[1]
            assert torch.equal(frame.gt_index[clip, :slots], own.gt_index[0])
            assert torch.equal(frame.track_ids[clip, :slots], own.track_ids[0])
            assert not frame.valid[clip, slots:].any()
            torch.testing.assert_close(frame.boxes_cxcywh[clip, :slots], own.boxes_cxcywh[0], **(box_tolerance or {}))


def assert_gradient_is_the_weighted_mean(tracker, alone, **tolerance):
    """Check that the gradient of a batch is the mean over its clips, weighted by the divisors of their losses."""

    def gradient(batch):
        tracker.zero_grad()
        sum(tracker.losses(batch)[0].values()).backward()
        return torch.cat([one.grad.flatten() for one in tracker.parameters() if one.requires_grad])

    counts = [sum(count.item() for *_, count in follow(tracker, batch)) for batch in alone]
    expected = sum(count * gradient(batch) for count, batch in zip(counts, alone, strict=True)) / sum(counts)
    torch.testing.assert_close(gradient(merge(*alone)), expected, **tolerance)
