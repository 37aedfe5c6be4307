"""Converters: boxes, identities, units and gradients for tensors shaped like those of other projects."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mot_core.boxes import cxcywh_to_xyxy
from unitrack_loss import TrackClip, UniTrackLoss
from unitrack_loss.converters import (
    detr_frame,
    fairmot_clip,
    gtr_clip,
    motr_frame,
    torchvision_frame,
    trackformer_frame,
    yolox_frame,
)

HEIGHT, WIDTH, FRAMES = 608, 1088, 3
SIZE = (HEIGHT, WIDTH)
SCALE = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])


class Instances:
    """Fields of equal length and an image size, as in MOTR and detectron2."""

    def __init__(self, image_size, **fields):
        self.image_size = image_size
        self._fields = fields
        self.__dict__.update(fields)

    def __len__(self):
        return len(next(iter(self._fields.values())))


class Boxes:
    """Boxes as in detectron2."""

    def __init__(self, tensor):
        self.tensor = tensor


class Network(nn.Module):
    """Stub backbone: all predictions derive from one parameter."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 8) * 0.5)

    def forward(self, *shape):
        generator = torch.Generator().manual_seed(sum(shape))
        return torch.randn(*shape[:-1], 8, generator=generator) @ self.weight[:, : shape[-1]]


@pytest.fixture
def network():
    return Network()


def truth(frame):
    """Return two moving objects, center and size in [0, 1], and their identities."""
    boxes = torch.tensor([[0.3, 0.4, 0.05, 0.2], [0.6, 0.5, 0.06, 0.25]])
    boxes[:, 0] += 0.02 * frame
    return boxes, torch.tensor([4001, 12])


def assert_teaches(clip, network):
    output = UniTrackLoss("paper")(clip.validate())
    output.total.backward()
    assert output.num_edges > 0
    assert output.total.isfinite()
    assert network.weight.grad.isfinite().all()
    assert network.weight.grad.abs().sum() > 1e-6
    return output


def near(boxes, noise):
    return (boxes + 0.01 * noise.tanh()).clamp(0.01, 0.99)


def motr_instances(network, frame):
    """Return the state at the end of ``match_for_single_frame``: 3 queries, one of them matched, then 3 tracks."""
    boxes, ids = truth(frame)
    base = torch.stack([boxes[0], *torch.rand(2, 4) * 0.2 + 0.2, boxes[1], *torch.rand(2, 4) * 0.2 + 0.2])
    hidden = network(6, 8)
    tracks = Instances(
        (1, 1),
        ref_pts=torch.rand(6, 4),
        pred_boxes=near(base, hidden[:, :4]),
        pred_logits=torch.tensor([2.0, -9.0, 1.0, 2.0, -9.0, -9.0])[:, None] + hidden[:, 4:5],
        output_embedding=hidden,
        obj_idxes=torch.tensor([4001, -1, -1, 12, 77, -2]),  # object 77 has left; -2 is an artificial track
        matched_gt_idxes=torch.tensor([0, -1, -1, 1, -1, -1]),
        iou=torch.rand(6),
    )
    return tracks, Instances((1, 1), boxes=boxes, labels=torch.zeros(2).long(), obj_ids=ids.double())


def test_motr(network):
    instances = [motr_instances(network, frame) for frame in range(FRAMES)]
    frames = [motr_frame(*pair, SIZE) for pair in instances]
    assert frames[0]["det_gt"].tolist() == [4001, -1, 12, -1, -1]  # background is dropped, tracks are kept
    expected = cxcywh_to_xyxy(instances[1][0].pred_boxes[[0, 2, 3, 4, 5]]) * SCALE
    torch.testing.assert_close(frames[1]["boxes_xyxy"], expected)
    clip = TrackClip.from_frames(frames, SIZE)
    assert clip.gt_ids.tolist() == [[[4001, 12]] * FRAMES]
    assert assert_teaches(clip, network).num_edges == 4


def test_motr_with_identities_of_no_frame(network):
    tracks, empty = motr_instances(network, 0)
    empty = Instances((1, 1), boxes=torch.zeros(0, 4), obj_ids=torch.zeros(0))
    tracks.matched_gt_idxes = torch.full((6,), -1)
    assert motr_frame(tracks, empty, SIZE)["det_gt"].tolist() == [-1] * 5


def detr_outputs(network, columns):
    """Create four queries: background, the second object, a false positive and the first object."""
    hidden = network(2, 4, 8)
    boxes, _ = truth(0)
    base = torch.stack([torch.full((4,), 0.3), boxes[1], torch.full((4,), 0.2), boxes[0]])
    logits = torch.full((4, columns), -9.0)
    logits[1:, 0] = torch.tensor([2.0, 1.0, 3.0])
    logits[0, -1] = 5.0
    return hidden, near(base, hidden[..., :4]), logits + hidden[..., 4:5] * torch.eye(columns)[0]


INDICES = torch.tensor([1, 3]), torch.tensor([1, 0])


@pytest.mark.parametrize("style", ["hugging face", "dictionary"])
@pytest.mark.parametrize(("columns", "background"), [(2, -1), (92, -1), (1, None)])
def test_detr(network, style, columns, background):
    hidden, boxes, logits = detr_outputs(network, columns)
    if columns == 1:
        logits = logits - torch.tensor([20.0, 0, 0, 0])[:, None]
    outputs = (
        SimpleNamespace(logits=logits, pred_boxes=boxes, last_hidden_state=hidden)
        if style == "hugging face"
        else {"pred_logits": logits, "pred_boxes": boxes, "outputs": hidden, "aux_outputs": []}
    )
    frames = []
    for frame in range(FRAMES):
        gt_boxes, ids = truth(frame)
        target = {"boxes": gt_boxes, "track_ids": ids, "class_labels": torch.zeros(2).long()}
        frames.append(detr_frame(outputs, target, INDICES, SIZE, row=1, background=background))
    assert frames[0]["det_gt"].tolist() == [12, -1, 4001]
    torch.testing.assert_close(frames[0]["boxes_xyxy"], cxcywh_to_xyxy(boxes[1, 1:]) * SCALE)
    torch.testing.assert_close(frames[0]["embed"], hidden[1, 1:])
    if background is not None:
        probability = logits[1].softmax(-1)[1:]
        torch.testing.assert_close(frames[0]["logits"].sigmoid(), 1 - probability[:, -1])
    assert_teaches(TrackClip.from_frames(frames, SIZE), network)


def test_detr_names_missing_outputs():
    with pytest.raises(TypeError, match="outputs: expected logits or pred_logits, and pred_boxes, got dict"):
        detr_frame({"boxes": 1}, {}, INDICES, SIZE)


@pytest.mark.parametrize(("columns", "focal"), [(19, True), (20, False)])
def test_trackformer(network, columns, focal):
    hidden, boxes, logits = detr_outputs(network, columns)
    if focal:
        logits = logits - torch.tensor([20.0, 0, 0, 0])[:, None]
    outputs = {"pred_logits": logits, "pred_boxes": boxes, "hs_embed": hidden}
    frames = []
    for frame in range(FRAMES):
        gt_boxes, ids = truth(frame)
        mask = torch.tensor([True, True, False, False])  # the first track query has lost its object
        target = {"boxes": gt_boxes, "track_ids": ids, "labels": torch.zeros(2).long()}
        target |= {"track_queries_mask": mask} if frame else {}
        frames.append(trackformer_frame(outputs, target, INDICES, SIZE, row=1, focal=focal))
    assert frames[0]["det_gt"].tolist() == [12, -1, 4001]
    assert frames[1]["det_gt"].tolist() == [-1, 12, -1, 4001]
    score = logits[1, :, 0].sigmoid() if focal else logits[1].softmax(-1)[:, 0]
    torch.testing.assert_close(frames[1]["logits"].sigmoid(), score)
    assert_teaches(TrackClip.from_frames(frames, SIZE), network)


def test_unknown_identities_are_ignored(network):
    hidden, boxes, logits = detr_outputs(network, 1)
    outputs = {"pred_logits": logits, "pred_boxes": boxes, "hs_embed": hidden}
    target = {"boxes": truth(0)[0], "track_ids": torch.tensor([5, -1])}
    frame = detr_frame(outputs, target, INDICES, SIZE)
    assert frame["det_gt"].tolist() == [-1, -1, 5]  # background (with a high score), false positive, object 5
    assert frame["gt_ids"].tolist() == [5]


def fairmot_maps(network):
    height, width = HEIGHT // 4, WIDTH // 4
    maps = {
        name: torch.zeros(FRAMES, channels, height, width)
        for name, channels in {"hm": 1, "wh": 4, "reg": 2, "id": 8}.items()
    }
    batch = {"ind": torch.zeros(FRAMES, 5).long(), "reg_mask": torch.zeros(FRAMES, 5).byte()}
    batch |= {"ids": torch.full((FRAMES, 5), -1), "bbox": torch.zeros(FRAMES, 5, 4)}
    maps["hm"] -= 4
    hidden = network(FRAMES, 2, 8)
    for frame in range(FRAMES):
        boxes, ids = truth(frame)
        corners = cxcywh_to_xyxy(boxes) * SCALE / 4
        for k in range(2):
            center = (corners[k, :2] + corners[k, 2:]) / 2
            x, y = center.long().tolist()
            batch["ind"][frame, k], batch["reg_mask"][frame, k] = y * width + x, 1
            batch["ids"][frame, k], batch["bbox"][frame, k] = ids[k], corners[k]
            offset = center - torch.tensor([x, y])
            maps["reg"][frame, :, y, x] = offset
            maps["wh"][frame, :, y, x] = torch.cat([center - corners[k, :2], corners[k, 2:] - center])
            maps["id"][frame, :, y, x] = hidden[frame, k]
            maps["hm"][frame, 0, y, x] = 2 + hidden[frame, k, 0]
    batch["reg_mask"][:, 2] = 1  # a person of unknown identity
    return maps, batch


def test_fairmot(network):
    maps, batch = fairmot_maps(network)
    clip = fairmot_clip(maps, batch)
    assert clip.det_gt.tolist() == [[[4001, 12, -1, -1, -1]] * FRAMES]
    assert clip.valid.sum() == 2 * FRAMES
    assert clip.image_size.tolist() == [[HEIGHT, WIDTH]]
    torch.testing.assert_close(clip.boxes_xyxy[0, 1, :2], cxcywh_to_xyxy(truth(1)[0]) * SCALE)
    torch.testing.assert_close(clip.boxes_xyxy[:, :, :2], clip.gt_boxes_xyxy[:, :, :2])
    output = assert_teaches(clip, network)
    assert output.spatial < 0.5


def test_fairmot_after_its_loss_is_rejected(network):
    maps, batch = fairmot_maps(network)
    with pytest.raises(ValueError, match=r"output\['hm'\]: expected logits, got values in \[0, 1\]; convert before"):
        fairmot_clip({**maps, "hm": maps["hm"].sigmoid()}, batch)
    with pytest.raises(ValueError, match=r"output\['wh'\]: expected 4 channels, got 2"):
        fairmot_clip({**maps, "wh": maps["wh"][:, :2]}, batch)


def test_yolox(network):
    """Create six anchors, three of the first object and one of the second."""
    frames, raw = [], []
    for frame in range(FRAMES):
        boxes, ids = truth(frame)
        boxes = boxes * SCALE
        shift = torch.tensor([[9.0, 0, 0, 0], [2.0, 0, 0, 0], [-7.0, 0, 0, 0]])
        anchors = torch.cat([boxes[:1] + shift, boxes[1:], torch.rand(2, 4) * 50 + 20])
        hidden = network(6, 8)
        outputs = torch.cat([anchors + hidden[:, :4], hidden[:, 4:6] + 1], 1)
        fg_mask = torch.tensor([True, True, True, True, False, False])
        frames.append(yolox_frame(outputs, fg_mask, torch.tensor([0, 0, 0, 1]), boxes, ids))
        raw.append(outputs)
    assert frames[0]["det_gt"].tolist() == [4001, 12]
    torch.testing.assert_close(frames[0]["boxes_xyxy"], cxcywh_to_xyxy(raw[0][[1, 3], :4]))
    score = raw[0][[1, 3], 4:].sigmoid().prod(1)
    torch.testing.assert_close(frames[0]["logits"].sigmoid(), score)
    clip = TrackClip.from_frames(frames, SIZE)
    assert clip.embed is None
    assert_teaches(clip, network)


def test_yolox_with_saturated_logits():
    """The logit of a product and its gradient stay finite."""
    outputs = torch.tensor([[50.0, 50, 20, 40, 90, 90], [150.0, 50, 20, 40, -90, -90]]).requires_grad_()
    frame = yolox_frame(outputs, torch.ones(2), torch.tensor([0, 1]), outputs[:, :4].detach(), torch.tensor([1, 2]))
    frame["logits"].sum().backward()
    assert frame["logits"].isfinite().all()
    assert outputs.grad.isfinite().all()


def test_yolox_without_objects():
    none = torch.zeros(0)
    frame = yolox_frame(torch.rand(3, 6), torch.zeros(3), none, torch.zeros(0, 4), none.long())
    assert frame["boxes_xyxy"].shape == (0, 4)
    assert frame["det_gt"].dtype == torch.int64


def test_half_precision_identities_are_rejected():
    with pytest.raises(TypeError, match=r"track_ids: expected integers, got torch.float16"):
        yolox_frame(torch.rand(1, 6), torch.ones(1), torch.zeros(1), torch.rand(1, 4), torch.tensor([7.0]).half())


def gtr_inputs(network, counts=(2, 3, 2)):
    proposals, targets, cues = [], [], []
    for frame, count in enumerate(counts):
        boxes, ids = truth(frame)
        corners = cxcywh_to_xyxy(boxes) * SCALE
        false = torch.tensor([[5.0, 5, 60, 90]])[: count - 2]
        score = torch.tensor([0.9, 0.999999, 0.4])[:count]
        proposals.append(Instances(SIZE, proposal_boxes=Boxes(torch.cat([corners, false])), objectness_logits=score))
        targets.append(Instances(SIZE, gt_boxes=Boxes(corners), gt_instance_ids=ids))
        cues += [1, 0, -1][:count]  # sorted identities: 12, 4001
    hidden = network(sum(counts), 8)
    return hidden @ hidden.T * 3, proposals, targets, torch.tensor(cues)


def test_gtr(network):
    asso, proposals, targets, cues = gtr_inputs(network)
    clip = gtr_clip(asso, proposals, targets, cues)
    assert clip.det_gt.tolist() == [[[4001, 12, -1], [4001, 12, -1], [4001, 12, -1]]]
    assert clip.valid.sum(-1).tolist() == [[2, 3, 2]]
    torch.testing.assert_close(clip.assoc_logits[0, 0, :2], asso[0:2, 2:5])
    torch.testing.assert_close(clip.assoc_logits[0, 1, :, :2], asso[2:5, 5:7])
    torch.testing.assert_close(clip.logits[0, 0].sigmoid(), torch.tensor([0.9, 0.9999, 0.5]))
    assert assert_teaches(clip, network).num_edges == 4
    with pytest.raises(ValueError, match=r"asso: expected shape \(N, N\) with N = 7 boxes, got \(6, 7\)"):
        gtr_clip(asso[1:], proposals, targets, cues)


def test_torchvision(network):
    frames = []
    for frame in range(FRAMES):
        boxes, ids = truth(frame)
        corners = cxcywh_to_xyxy(boxes) * SCALE
        hidden = network(5, 8)
        shift = torch.tensor([8.0, 1.0, 0.0, 5.0, 300.0])[:, None]
        decoded = corners[[0, 0, 1, 1, 1]] + shift + hidden[:, :4].tanh()
        labels, matched = torch.tensor([1, 1, 1, 1, 0]), torch.tensor([0, 0, 1, 1, 0])
        target = {"boxes": corners, "track_ids": ids, "labels": torch.ones(2).long()}
        frames.append(torchvision_frame(decoded, hidden[:, 4:6] + 0.1, labels, matched, target, hidden))
        torch.testing.assert_close(frames[-1]["boxes_xyxy"], decoded[[1, 2]])
        probability = (hidden[:, 4:6] + 0.1).softmax(-1)[[1, 2], 1]
        torch.testing.assert_close(frames[-1]["logits"].sigmoid(), probability)
    assert frames[0]["det_gt"].tolist() == [4001, 12]
    assert_teaches(TrackClip.from_frames(frames, SIZE), network)


def test_half_precision_hosts_keep_exact_pixels(network):
    """Corners are computed in single precision."""
    maps, batch = fairmot_maps(network)
    clip = fairmot_clip({name: value.half() for name, value in maps.items()}, batch)
    assert clip.boxes_xyxy.dtype == torch.float32
    torch.testing.assert_close(clip.boxes_xyxy[0, 0, :2], clip.gt_boxes_xyxy[0, 0, :2], atol=0.1, rtol=0)
    outputs = torch.tensor([[1024.0, 500, 33, 41, 2, 2]]).half()
    frame = yolox_frame(outputs, torch.ones(1), torch.zeros(1), outputs[:, :4], torch.tensor([4001]))
    assert frame["boxes_xyxy"].tolist() == [[1007.5, 479.5, 1040.5, 520.5]]
