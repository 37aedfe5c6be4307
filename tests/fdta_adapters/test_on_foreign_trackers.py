"""The recipes of docs/recipes/fdta.md on models with the modules, call order and layouts of other projects."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from _helpers.recipes import recipes_of
from _helpers.trackers.original_layouts import MOTIP, MOTR, DenseDetector, Instances, NestedTensor, SetCriterion
from fdta_adapters import FDTA
from fdta_adapters.foreign import best_cells, depth_targets, flat_pyramid, matched_frame
from mot_core.structures import ClipOutput

RECIPES, LINES = recipes_of("fdta.md")
FRAMES, OBJECTS, SIZE = 4, 2, (64, 96)


def video():
    """Return images, depth maps in which objects are near, boxes and identities of a clip."""
    random = torch.Generator().manual_seed(1)
    images = torch.randn(FRAMES, 3, *SIZE, generator=random)
    center = torch.tensor([[0.3, 0.4], [0.7, 0.6]]) + 0.02 * torch.arange(FRAMES)[:, None, None]
    boxes = torch.cat([center, torch.full_like(center, 0.3)], -1)
    depth = torch.full((FRAMES, 1, *SIZE), 40.0)
    depth[:, :, 12:38, 14:43] = 220.0
    return images, depth, boxes, torch.tensor([7, 3])


def plugins(residual="gated", **changes):
    settings = {
        "spatial": {"residual": residual, "num_bins": 10, "num_heads": 4},
        "temporal": {"residual": residual, "layers": 1, "num_heads": 4},
        "identity": {"start_epoch": 0, "min_quality": 0.0, "weighting": "none"},
    }
    return FDTA(**settings | changes)


class OriginalMOTIP:
    """MOTIP's training step: shuffled frames, most without gradient, then history and identities."""

    def __init__(self):
        self.model, self.criterion = MOTIP(), SetCriterion()

    chunks = 1

    def attach(self, adapters):
        return RECIPES["attach_motip"](self.model, self.criterion, *adapters)

    def _detect(self, images, order, detach):
        frames = NestedTensor(images[order], torch.zeros(len(order), *SIZE, dtype=torch.bool))
        with torch.set_grad_enabled(not detach):
            return self.model(part="detr", frames=frames)

    def _identify(self, embeddings, present):
        """Return identity logits, (1, 1, T, N, C) as in seq_info."""
        frames, tracks = present.shape
        times = torch.arange(frames)[:, None].expand(frames, tracks)[None, None]
        labels = torch.arange(tracks).expand(frames, tracks)[None, None]
        info = {"trajectory_features": (embeddings * present[..., None])[None, None]}
        info |= {"trajectory_masks": ~present[None, None], "trajectory_id_labels": labels, "trajectory_times": times}
        info |= {"unknown_features": embeddings[None, None], "unknown_times": times}
        return self.model(part="id_decoder", seq_info=self.model(part="trajectory_modeling", seq_info=info)), labels

    def losses(self):
        images, depth, boxes, ids = video()
        order = torch.tensor([2, 0, 3, 1])
        live, rest = order[:2], order[2:]
        self.model.call_targets = None
        outputs = [self._detect(images, rest, detach=True)]
        for chunk in live.split(len(live) // self.chunks):
            self.model.call_targets = depth_targets(depth[chunk], list(boxes[chunk]))
            outputs.append(self._detect(images, chunk, detach=False))
        back = torch.cat([rest, live]).argsort()
        merged = {key: torch.cat([out[key] for out in outputs])[back] for key in ("outputs", "pred_boxes")}
        targets = [{"boxes": box, "id": ids} for box in boxes]
        losses, indices = self.criterion(merged, targets, batch_len=10)
        matched = torch.stack([merged["outputs"][t, slots[rows.argsort()]] for t, (slots, rows) in enumerate(indices)])
        logits, labels = self._identify(matched, torch.tensor([[1, 1], [1, 0], [1, 1], [1, 1]]).bool())
        losses["id"] = F.cross_entropy(logits.flatten(0, -2)[OBJECTS:], labels.flatten()[OBJECTS:])
        return losses, {**self.criterion.weight_dict, "id": 1.0}

    @torch.no_grad()
    def track(self):
        self.model.call_targets = None
        images, *_ = video()
        out = self._detect(images, torch.arange(FRAMES), detach=True)
        logits, _ = self._identify(out["outputs"][:, :OBJECTS], torch.ones(FRAMES, OBJECTS, dtype=torch.bool))
        return [out["pred_logits"], out["pred_boxes"], out["outputs"], logits]


class OriginalMOTR:
    def __init__(self):
        self.model = MOTR()

    def attach(self, adapters):
        return RECIPES["attach_motr"](self.model, *adapters)

    def losses(self):
        images, depth, boxes, ids = video()
        # The last frame has one object only: the other track stays without an object.
        truth = [Instances(boxes=box, obj_ids=ids) for box in boxes[:-1]]
        data = {"gt_instances": [*truth, Instances(boxes=boxes[-1, :1], obj_ids=ids[:1])]}
        frames = [NestedTensor(image[None], torch.zeros(1, *SIZE, dtype=torch.bool)) for image in images]

        self.model.call_targets = [depth_targets(depth[t : t + 1], [boxes[t]]) for t in range(FRAMES)]
        outputs = self.model({**data, "imgs": frames})
        return self.model.criterion(outputs, data), self.model.criterion.weight_dict

    @torch.no_grad()
    def track(self):
        self.model.call_targets = None
        self.model.clear()
        tracks, found = None, []
        for image in video()[0]:
            frame = NestedTensor(image[None], torch.zeros(1, *SIZE, dtype=torch.bool))
            result = self.model.inference_single_image(frame, tracks)
            tracks = result["track_instances"]
            found += [result["pred_logits"], result["pred_boxes"], tracks.query_pos, tracks.obj_idxes]
        return found


class Dense:
    def __init__(self):
        self.model = DenseDetector()

    def attach(self, adapters):
        return RECIPES["attach_dense"](self.model, 32, *adapters)

    def losses(self):
        images, depth, boxes, ids = video()
        self.model.call_targets = depth_targets(depth, list(boxes))
        self.model.head.track_ids = ids.expand(FRAMES, -1)
        return self.model(images, boxes * torch.tensor([SIZE[1], SIZE[0]] * 2)), {"total_loss": 1.0}

    @torch.no_grad()
    def track(self):
        self.model.call_targets = None
        return [*self.model(video()[0])]


CASES = {"motip": (OriginalMOTIP, {}), "motr": (OriginalMOTR, {}), "dense": (Dense, {"temporal": None})}


@pytest.fixture(params=CASES)
def case(request):
    kind, changes = CASES[request.param]
    torch.manual_seed(0)
    return SimpleNamespace(host=kind(), plugins=lambda **more: plugins(**changes | more))


def train(host, tap, steps, lr=3e-3):
    """Train as such projects do, and return the losses of all steps."""
    optimizer = torch.optim.Adam(host.model.parameters(), lr=lr)
    history = []
    for _ in range(steps):
        losses, weights = host.losses()
        optimizer.zero_grad()
        sum(losses[key] * weights[key] for key in losses if key in weights).backward()
        optimizer.step()
        history.append({key: loss.detach() for key, loss in losses.items()})
    return history


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def training_losses(host):
    torch.manual_seed(5)  # dropout
    return host.losses()[0]


@pytest.mark.parametrize("name", ["attach_motip", "attach_motr", "attach_deformable_detr", "attach_dense"])
def test_recipes_are_short(name):
    assert len(LINES[name]) < 15


def test_gated_adapters_leave_the_tracker_bit_identical(case):
    host = case.host
    host.model.train()
    before = training_losses(host)
    with host.attach(case.plugins(identity=None, spatial={"residual": "gated", "supervise": False, "num_heads": 4})):
        during = training_losses(host)  # the tracker's dropout draws the same numbers
    assert all(torch.equal(during[key], before[key]) for key in before)
    host.model.eval()
    before = host.track()
    with host.attach(case.plugins()):
        assert equal(host.track(), before)
    assert equal(host.track(), before)


def test_adapters_are_trained(case):
    host = case.host
    host.model.train()
    adapters = case.plugins()
    logged = {}
    tap = host.attach(adapters)
    tap._log = lambda name, value: logged.setdefault(name, []).append(float(value))
    gates = [parameter for name, parameter in tap.plugins.named_parameters() if "gate" in name]
    before = {name: parameter.clone() for name, parameter in tap.plugins.named_parameters()}
    with tap:
        train(host, tap, steps=25)
        assert gates
        assert all(gate.abs() > 0 for gate in gates)
        unmoved = [name for name, value in tap.plugins.named_parameters() if torch.equal(value, before[name])]
        assert not unmoved
    for name in ("fdta_spatial/loss", "fdta_identity/loss"):
        assert logged[name][-1] < 0.7 * logged[name][0]


def test_trained_adapters_act_and_can_be_removed(case):
    host = case.host
    own = list(host.model.state_dict())
    weights = dict(host.losses()[1])
    host.model.train()
    tap = host.attach(case.plugins())
    train(host, tap, steps=2, lr=1e-2)
    host.model.eval()
    tap.reset()
    adapted = host.track()
    tap.reset()
    assert equal(host.track(), adapted)  # nothing of the first video remains
    tap.detach()
    plain = host.track()
    assert not equal(adapted, plain)
    assert list(host.model.state_dict()) == own
    assert not [module for module in host.model.modules() if "forward" in vars(module)]
    assert dict(host.losses()[1]).keys() == weights.keys()
    fresh = type(host)()
    fresh.model.load_state_dict(host.model.state_dict())
    fresh.model.eval()
    assert equal(fresh.track(), plain)


def test_queries_attend_between_cross_attention_and_feed_forward():
    torch.manual_seed(0)
    host = OriginalMOTIP()
    host.model.eval()
    tap = host.attach(plugins(temporal=None))
    adapter = tap.plugins["fdta_spatial"].adapter
    layer = host.model.detr.transformer.decoder.layers[1]
    seen = {}
    with tap, torch.no_grad():
        adapter.cross[1].gate.fill_(0.7)
        host.model.detr.transformer.register_forward_pre_hook(lambda _, args: seen.update(pyramid=args[:3]))
        layer.norm1.register_forward_pre_hook(lambda _, args: seen.update(crossed=args[0]))
        layer.linear1.register_forward_pre_hook(lambda _, args: seen.update(fed=args[0]))
        host._detect(video()[0], torch.tensor([2, 0]), detach=True)
        state = adapter.encode(*seen["pyramid"])
        crossed = F.layer_norm(seen["crossed"], (32,), layer.norm1.weight, layer.norm1.bias)
        torch.testing.assert_close(seen["fed"], adapter.attend(1, crossed, state))
        assert not torch.allclose(seen["fed"], crossed)


def test_histories_of_motip_are_refined_by_track():
    torch.manual_seed(0)
    host = OriginalMOTIP()
    host.model.eval()
    tap = host.attach(plugins(residual="replace", spatial=None))
    adapter = tap.plugins["fdta_temporal"].adapter
    seen = {}
    host.model.trajectory_modeling.adapter.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    history, missing = torch.randn(1, 2, 5, 3, 32), torch.rand(1, 2, 5, 3) < 0.3
    history[missing] = 0
    info = {"trajectory_features": history, "trajectory_masks": missing}
    with tap, torch.no_grad():
        host.model(part="trajectory_modeling", seq_info=info)
        assert info["trajectory_features"] is history
        for group in range(2):
            for track in range(3):
                alone = adapter(history[0, group, :, track], missing[0, group, :, track])
                torch.testing.assert_close(seen["x"][0, group, :, track], alone)


def test_tracks_of_motr_are_refined_by_their_past():
    """Identity 5 lives in all frames, 8 from the second on, and 5 is not seen in the second."""
    torch.manual_seed(0)
    host = OriginalMOTR()
    host.model.eval()
    x = torch.randn(3, 3, 32)  # frame, slot, channel
    ids = torch.tensor([[-1, 5, -1], [8, 5, -1], [8, 5, -1]])
    gone = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    refined = []
    host.model.track_embed.forward = lambda data: refined.append(data["track_instances"].output_embedding)
    tap = host.attach(plugins(residual="replace", spatial=None))
    adapter = tap.plugins["fdta_temporal"].adapter
    with tap, torch.no_grad():
        for frame in range(3):
            tracks = Instances(obj_idxes=ids[frame], output_embedding=x[frame].clone(), disappear_time=gone[frame])
            host.model.track_embed({"track_instances": tracks})
        present = torch.zeros(3, dtype=torch.bool)
        torch.testing.assert_close(refined[0], x[0])  # a new track has no past
        torch.testing.assert_close(refined[1][0], x[1, 0])
        torch.testing.assert_close(refined[1][1], adapter(x[:2, 1], present[:2])[-1])
        missed = torch.tensor([False, True, False])
        torch.testing.assert_close(refined[2][1], adapter(x[:, 1], missed)[-1])
        later = torch.tensor([True, False, False])  # before its birth
        torch.testing.assert_close(refined[2][0], adapter(x[:, 0], later)[-1])
        torch.testing.assert_close(refined[2][2], x[2, 2])
        host.model.clear()
        tracks = Instances(obj_idxes=ids[2], output_embedding=x[2].clone(), disappear_time=gone[2])
        host.model.track_embed({"track_instances": tracks})
        torch.testing.assert_close(refined[3], x[2])  # another video


def test_depth_loss_reads_the_maps_of_shuffled_frames():
    torch.manual_seed(0)
    host = OriginalMOTIP()
    host.model.train()
    logged = {}
    tap = host.attach(plugins(temporal=None, spatial={"num_bins": 10, "num_heads": 4, "dropout": 0.0}))
    tap._log = logged.__setitem__
    adapter = tap.plugins["fdta_spatial"].adapter
    states = []
    encode = adapter.encode
    adapter.encode = lambda *args: states.append(encode(*args)) or states[-1]
    with tap:
        host.losses()
    _, depth, boxes, _ = video()
    live = torch.tensor([2, 0])
    x, y, w, h = (boxes[live] * torch.tensor([12.0, 8.0] * 2)).unbind(-1)  # cells
    corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    expected = adapter.loss(states[1], depth[live], list(corners))
    torch.testing.assert_close(logged["fdta_spatial/loss"], expected.detach())


def test_cells_of_largest_overlap_represent_objects():
    torch.manual_seed(0)
    host = Dense()
    host.model.train()
    tap = host.attach(plugins(temporal=None))
    seen = {}
    host.model.head.embed_preds.register_forward_hook(lambda *args: seen.setdefault("levels", []).append(args[2]))
    adapter = tap.plugins["fdta_identity"].adapter
    adapter.register_forward_pre_hook(lambda _, args: seen.update(embeddings=args[0], ids=args[1]))
    with tap:
        host.losses()
    cells = torch.cat([level.flatten(2).transpose(1, 2) for level in seen["levels"]], 1)
    # Of the assigned cells 0, 25, 50 and 75, 100, 125, the second ones overlap most.
    torch.testing.assert_close(seen["embeddings"], cells[:, [25, 100]].flatten(0, 1))
    assert seen["ids"].tolist() == [7, 3] * FRAMES


def test_frames_without_objects_are_allowed():
    frame = matched_frame(torch.zeros(0, 8), torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert len(ClipOutput([frame[0]], [frame[1]]).frames) == 1
    cells, objects = best_cells(torch.zeros(5).bool(), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert cells.numel() == objects.numel() == 0
    assert depth_targets(torch.rand(2, 1, 4, 4), [torch.zeros(0, 4), torch.rand(1, 4)]).valid.tolist() == [
        [False],
        [True],
    ]


def test_flat_pyramids_are_restored():
    random = torch.Generator().manual_seed(0)
    shapes = [(4, 6), (2, 3)]
    levels = [torch.randn(2, 8, *shape, generator=random) for shape in shapes]
    masks = [torch.rand(2, *shape, generator=random) < 0.5 for shape in shapes]
    cells = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
    found, padding, _ = flat_pyramid(cells, ~torch.cat([mask.flatten(1) for mask in masks], 1), shapes, other=1)
    assert equal(found, levels)
    assert equal(padding, masks)


def test_checkpointing_of_the_detector_changes_no_gradient():
    """Two calls with gradient, which backward computes again."""
    gradients = []
    for repeated in (False, True):
        torch.manual_seed(0)
        host = OriginalMOTIP()
        host.chunks = 2
        host.model.train()
        tap = host.attach(plugins(spatial={"residual": "postnorm", "num_bins": 10, "num_heads": 4, "dropout": 0.0}))
        detr = host.model.detr.forward
        if repeated:
            host.model.detr.forward = lambda samples, detr=detr: checkpoint(detr, samples, use_reentrant=False)
        with tap:
            torch.manual_seed(3)
            losses, weights = host.losses()
            sum(losses[key] * weight for key, weight in weights.items() if key in losses).backward()
            gradients.append([parameter.grad for parameter in host.model.parameters() if parameter.grad is not None])
    assert len(gradients[0]) > 50
    torch.testing.assert_close(*gradients)


def test_missing_targets_of_a_clip_are_reported():
    torch.manual_seed(0)
    model = DenseDetector()
    model.call_targets = []
    with RECIPES["attach_dense"](model, 32, *plugins(temporal=None)), pytest.raises(ValueError, match="call_targets: "):
        model.backbone(video()[0])
