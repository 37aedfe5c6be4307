"""Tap: kinds of criteria, and models that cannot be tapped."""

import pytest
import torch
from torch import nn

from _helpers.trackers.foreign_tracker import SPEC, Size, build, run, tap_motr
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec
from mot_core.tap import Tap

# --- kinds of criteria ---


def test_dropped_losses_are_reported_in_the_next_step():
    """The training loop uses weights other than those of the criterion."""
    model = build()
    mine = {"loss_box": 1.0, "loss_size": 1.0}
    dropped = r"the training loop dropped size/mean: .*weight_dict.*into"
    with pytest.raises(ValueError, match=dropped), tap_motr(model, Size()):
        run(model, steps=2, weights=mine)
    model = build()
    with pytest.raises(ValueError, match="the training loop dropped size/mean"), tap_motr(model, Size()):
        run(model, steps=1, weights=mine)
    assert not hasattr(model, "plugins")


class Output(dict):
    """As in transformers: a dictionary whose values are also attributes, and which forbids update()."""

    def __getattr__(self, name):
        return self[name]

    def update(self, *others):
        raise RuntimeError("forbidden")


@pytest.mark.parametrize("into", ["a", None])
def test_criteria_keep_the_type_of_their_dictionary(into):
    model = build()
    returned = Output(a=torch.ones((), requires_grad=True), boxes=torch.rand(1, 3, 4, requires_grad=True))
    model.criterion.forward = lambda: returned
    tap = Tap(model, SPEC, Size())
    tap.loss(model.criterion, lambda: live_clip(returned["boxes"]), into=into)
    with tap:
        result = model.criterion()
        added = result.a - 1 if into else result["size/mean"]
        assert type(result) is Output
        assert added > 0
        (result.a + (0 if into else added)).backward()
    assert list(returned) == ["a", "boxes"]
    assert returned.a == 1


class Plain:
    """A criterion that is not a module, with weights under another name."""

    def __init__(self):
        self.loss_weights = {"a": 1.0}

    def compute(self, boxes):
        return {"a": boxes.sum()}


def live_clip(boxes):
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
    embeddings = boxes.repeat(1, 1, 2)[..., :6]
    return ClipOutput(
        [FrameOutput(boxes, boxes[..., :1], valid, torch.ones(1, 2), torch.tensor([0]), embeddings=embeddings)]
    )


def test_criterion_that_is_not_a_module():
    model, criterion = build(), Plain()
    boxes = torch.rand(1, 2, 4, requires_grad=True)
    with Tap(model, SPEC, Size()) as tap:
        tap.loss(criterion, live_clip, method="compute", weight_dict="loss_weights")
        losses = criterion.compute(boxes)
        assert criterion.loss_weights == {"a": 1.0, "size/mean": 1.0}
        sum(losses.values()).backward()
    assert criterion.loss_weights == {"a": 1.0}
    assert "compute" not in vars(criterion)
    with Tap(model, SPEC) as tap, pytest.raises(ValueError, match=r"weight_dict: Plain.nothing must be a dictionary"):
        tap.loss(criterion, live_clip, method="compute", weight_dict="nothing")


@pytest.mark.parametrize(
    ("shape", "pick", "into"),
    [
        (lambda total: total, lambda result: result, None),
        (lambda total: (total, {"stats": 1}), lambda result: result[0], None),
        (lambda total: {"total_loss": total, "iou_loss": 1}, lambda result: result["total_loss"], "total_loss"),
        (lambda total: ({"total_loss": total}, "indices"), lambda result: result[0]["total_loss"], "total_loss"),
        (lambda total: {"loss": total}, lambda result: sum(result.values()), None),
    ],
)
def test_kinds_of_criterion_results(shape, pick, into):
    class Head(nn.Module):
        def forward(self, boxes):
            return shape(boxes.sum())

    head, model = Head(), build()
    boxes = torch.rand(1, 2, 4, requires_grad=True)
    with Tap(model, SPEC, Size()) as tap:
        tap.loss(head, live_clip, into=into)
        result = head(boxes)
    extra = boxes.repeat(1, 1, 2)[..., :6].square().mean()
    assert pick(result).item() == pytest.approx((boxes.sum() + extra).item())
    assert type(result) is type(head(boxes))


def test_unsupported_results_are_rejected():
    class Head(nn.Module):
        def forward(self, boxes):
            return {"total": boxes.sum()}

    head = Head()
    with Tap(build(), SPEC, Size()) as tap:
        tap.loss(head, live_clip, into="total_loss")
        with pytest.raises(TypeError, match=r"a dictionary with a tensor 'total_loss' .* got NoneType"):
            head(torch.rand(1, 2, 4, requires_grad=True))


# --- what cannot be tapped ---


def test_wrapped_models_are_rejected():
    with pytest.raises(ValueError, match=r"expected the bare tracker, got DataParallel, .*model.module"):
        Tap(nn.DataParallel(build()), SPEC)
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    with pytest.raises(ValueError, match=r"expected the bare tracker, got DistributedDataParallel"):
        Tap(wrapped, SPEC)


def test_containers_are_rejected():
    with pytest.raises(ValueError, match="got Sequential, which would run the plug-ins"):
        Tap(nn.Sequential(nn.Linear(1, 1)), SPEC)


def test_two_taps_are_rejected():
    model = build()
    with Tap(model, SPEC), pytest.raises(ValueError, match="Foreign already has an attribute 'plugins'"):
        Tap(model, SPEC)
    Tap(model, SPEC).detach()


def test_model_is_unchanged_if_a_capability_is_missing():
    model = build()
    with pytest.raises(ValueError, match="plug-in 'size' needs a tracker that provides an embedding"):
        Tap(model, TrackerSpec("bare"), Size())
    assert not hasattr(model, "plugins")


def test_invalid_names_are_rejected():
    with Tap(build(), SPEC) as tap:
        with pytest.raises(ValueError, match="path: Foreign has no module 'encoder'"):
            tap.output("encoder")
        with pytest.raises(ValueError, match="name: Foreign has no method '_post'"):
            tap.method(tap.model, "_post")
        with pytest.raises(ValueError, match="expected an object with instance attributes"):
            tap.replace(Plain, "compute", lambda original: None)


def test_nested_wrappers_are_removed_in_reverse():
    criterion = Plain()
    criterion.compute = lambda boxes: {"a": boxes.sum() * 3}  # a method of the object itself
    mine = criterion.compute
    with Tap(build(), SPEC) as tap:
        tap.replace(criterion, "compute", lambda original, boxes: {"a": original(boxes)["a"] + 1})
        tap.replace(criterion, "compute", lambda original, boxes: {"a": original(boxes)["a"] * 10})
        assert criterion.compute(torch.ones(2))["a"] == 70
    assert criterion.compute is mine
