import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mot_core.plugins import Plugin
from mot_core.structures import ClipOutput, FrameOutput, TrackerSpec
from mot_core.tap import Tap

SPEC = TrackerSpec("foreign", frozenset({"embeddings", "live_boxes", "decoder_layer"}), embed_dim=6, decoder_layers=1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Custom(torch.autograd.Function):
    """A checkpoint as some projects have their own: without graph at first, all of it again in backward."""

    @staticmethod
    def forward(ctx, function, module, image):
        ctx.function, ctx.module = function, module
        ctx.save_for_backward(image)
        with torch.no_grad():
            return function(image)

    @staticmethod
    def backward(ctx, *gradients):
        (image,) = ctx.saved_tensors
        parameters = list(ctx.module.parameters())
        with torch.enable_grad():
            outputs = ctx.function(image)
        found = torch.autograd.grad(outputs, parameters, gradients, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return None, None, None


class Criterion(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight_dict = {"loss_box": 2.0, "loss_size": 1.0}

    def forward(self, outputs, batch):
        boxes = torch.stack(outputs["boxes"])
        return {"loss_box": boxes.square().mean(), "loss_size": boxes[..., 2:].mean(), "error": torch.tensor(3.0)}


class Foreign(nn.Module):
    """In the shape of MOTR: frames by plain methods, outputs without embeddings, a criterion apart."""

    def __init__(self, checkpointing=None):
        super().__init__()
        self.stem = nn.Linear(5, 6)
        self.decoder = nn.ModuleDict({"norm1": nn.LayerNorm(6), "ffn": nn.Linear(6, 6)})
        self.boxes = nn.Linear(6, 4)
        self.criterion = Criterion()
        self.checkpointing = checkpointing

    def _network(self, image):
        hidden = self.decoder["norm1"](self.stem(image))
        embeddings = hidden + self.decoder["ffn"](hidden).relu()
        return self.boxes(embeddings).sigmoid(), embeddings

    def _forward_single_image(self, image):
        if self.checkpointing == "custom" and self.training:
            return Custom.apply(self._network, self, image.requires_grad_())
        if self.checkpointing is not None and self.training:
            return checkpoint(self._network, image.requires_grad_(), use_reentrant=self.checkpointing == "reentrant")
        return self._network(image)

    def _post_process_single_image(self, result, time):
        return result[0]

    def forward(self, images):
        results = [self._forward_single_image(image) for image in images]
        return {"boxes": [self._post_process_single_image(result, time) for time, result in enumerate(results)]}


class Size(Plugin):
    """The mean embedding should be small."""

    name = "size"
    requires = ("embeddings",)

    def setup(self, spec):
        self.scale = nn.Parameter(torch.ones(spec.embed_dim))
        return {}

    def on_clip_loss(self, clip, ctx):
        ctx.log("frames", len(clip.frames))
        return {"mean": torch.stack([(frame.embeddings * self.scale).square().mean() for frame in clip.frames]).mean()}


def images(frames=3):
    return torch.randn(frames, 1, 7, 5, generator=torch.Generator().manual_seed(1))


def build(checkpointing=None):
    torch.manual_seed(0)
    return Foreign(checkpointing)


def tap_motr(model, *plugins, **options):
    """The recipe: collect after the plain method that gets what the checkpoint returns, add to the criterion."""
    tap = Tap(model, SPEC, *plugins, **options)
    frames = []

    def collect(result, time):
        boxes, embeddings = result
        valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
        frames.append(
            FrameOutput(boxes, boxes[..., :1], valid, torch.ones(1, 2), torch.tensor([time]), embeddings=embeddings)
        )

    def clip(outputs, batch):
        made = ClipOutput(list(frames))
        frames.clear()
        return made

    tap.method(model, "_post_process_single_image", before=collect)
    tap.loss(model.criterion, clip)
    return tap


def train_step(model, optimizer, weights=None):
    """As such projects write it: only the keys of the dictionary of weights count."""
    losses = model.criterion(model(images()), None)
    weights = model.criterion.weight_dict if weights is None else weights
    total = sum(losses[key] * weights[key] for key in losses if key in weights)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return {name: value.detach() for name, value in losses.items()} | {"total": total.detach()}


def run(model, steps=3, weights=None):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return [train_step(model, optimizer, weights) for _ in range(steps)]


def own_state(model):
    return {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("plugins.")}


def assert_equal(a, b):
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


# --- it trains, and leaves nothing behind ---


def test_losses_train_the_tracker_and_the_plugin():
    model, logged = build(), []
    tap = tap_motr(model, Size(weight=0.5), log=lambda name, value: logged.append((name, value)))
    assert "plugins.size.scale" in dict(model.named_parameters())
    before = own_state(model)
    with tap:
        (losses,) = run(model, steps=1)
        assert losses["total"] == pytest.approx(
            float(2 * losses["loss_box"] + losses["loss_size"] + losses["size/mean"]), abs=1e-6
        )
        assert ("size/frames", 3) in logged
        assert dict(logged)["size/mean"].item() == pytest.approx(2 * losses["size/mean"].item())
        assert tap.plugins["size"].scale.grad.abs().sum() > 0
    plain = build()
    run(plain, steps=1)
    assert not torch.equal(own_state(model)["stem.weight"], own_state(plain)["stem.weight"])
    assert_equal(before, own_state(build()))


def test_detaching_restores_every_bit():
    model, plain = build(), build()
    attributes = {id(module): set(module.__dict__) for module in model.modules()}
    with tap_motr(model, Size(weight=0.0)) as tap:
        tap.output("decoder.norm1")
        tap.replace(model.decoder["norm1"], "forward", lambda original, x: original(x) * 1)
        tapped = run(model)
    bare = run(plain)
    for a, b in zip(tapped, bare, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in b), "without weight, nothing changes in training either"
    assert list(model.state_dict()) == list(plain.state_dict())
    assert_equal(own_state(model), own_state(plain))
    assert {id(module): set(module.__dict__) for module in model.modules()} == attributes
    assert model.criterion.weight_dict == plain.criterion.weight_dict
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model.eval()(images())["boxes"][0], plain.eval()(images())["boxes"][0])
    copy.deepcopy(model)  # nothing is left that cannot be copied


class FailsLater(dict):
    """Weights in a loop that stops in its first step."""

    def __contains__(self, key):
        raise KeyError("mine")


def test_an_error_in_training_is_not_covered_up():
    model = build()
    with pytest.raises(KeyError, match="mine"), tap_motr(model, Size()):
        run(model, weights=FailsLater())
    assert not hasattr(model, "plugins")


def test_evaluation_adds_nothing():
    model = build()
    with tap_motr(model, Size()) as tap:
        model.eval()
        losses = model.criterion(model(images()), None)
        assert set(losses) == {"loss_box", "loss_size", "error"}
        assert tap.step == 0


def test_steps_count_for_the_warm_up():
    model = build()
    with tap_motr(model, Size(weight=1.0, warmup_steps=4)) as tap:
        values = [losses["size/mean"].item() for losses in run(model, steps=3)]
        assert values[0] == 0
        assert 0 < values[1] < values[2]
        assert tap.step == 3
    model = build()
    with tap_motr(model, Size(weight=1.0, warmup_steps=4)) as tap:
        tap.step = 100  # after loading a checkpoint
        assert run(model, steps=1)[0]["size/mean"] > 0


# --- captures ---


def test_captures_in_the_order_of_calls_and_forgets_after_the_loss():
    model = build()
    with tap_motr(model, Size()) as tap:
        tap.output("decoder.norm1", lambda output: output * 2)
        model(images())
        assert [value.shape for value in tap.captured["decoder.norm1"]] == [(1, 7, 6)] * 3
        assert all(value.requires_grad for value in tap.captured["decoder.norm1"])
        tap.reset()
        run(model, steps=2)
        assert not tap.captured


@pytest.mark.parametrize("checkpointing", [None, "plain", "custom"])
def test_what_the_checkpoint_returns_is_live_and_seen_once(checkpointing):
    """The same losses and weights with and without checkpointing; two backward passes leave nothing behind."""
    model, plain = build(checkpointing), build()
    with tap_motr(model, Size()) as tap, tap_motr(plain, Size()):
        for a, b in zip(run(model, steps=2), run(plain, steps=2), strict=True):
            assert_equal(a, b)
        assert not tap.captured
    for name, value in own_state(plain).items():
        torch.testing.assert_close(own_state(model)[name], value)


@pytest.mark.parametrize("checkpointing", ["reentrant", "custom"])
def test_inside_such_a_checkpoint_nothing_has_a_gradient(checkpointing):
    model = build(checkpointing)
    with Tap(model, SPEC) as tap:
        tap.output("decoder.norm1")
        with pytest.raises(
            ValueError, match=r"output 'decoder.norm1' has no gradient in training.*what the check"
        ):
            model(images())
    with Tap(model, SPEC) as tap:
        tap.method(model, "_network", after=lambda result, image: None)
        with pytest.raises(ValueError, match="method '_network' has no gradient in training"):
            model(images())
    with Tap(model, SPEC) as tap:
        tap.output("decoder.norm1", live=False)
        tap.method(model, "_network", live=False)
        model(images())
        assert len(tap.captured["decoder.norm1"]) == 3


def test_a_plain_checkpoint_is_seen_once():
    model = build("plain")
    seen = []
    with tap_motr(model, Size()) as tap:
        tap.output("decoder.norm1")
        tap.method(model, "_network", after=lambda result, image: seen.append(result[0].requires_grad))
        losses = model.criterion(model(images()), None)
        assert seen == [True] * 3
        sum(losses[key] for key in model.criterion.weight_dict).backward()
        assert seen == [True] * 3
        assert not tap.captured


def test_detached_tensors_are_told():
    model = build()
    with Tap(model, SPEC) as tap:
        tap.output("boxes", lambda output: {"boxes": [output.detach()], "ids": torch.ones(2).long()})
        with pytest.raises(ValueError, match="output 'boxes' has no gradient"):
            model(images())
        tap.reset()
        model.eval()(images())
        assert len(tap.captured["boxes"]) == 3


# --- hooks of plug-ins in a foreign decoder ---


class Gate(Plugin):
    name = "gate"

    def setup(self, spec):
        self.gate = nn.Parameter(torch.zeros(()))
        return {}

    def on_decoder_layer(self, layer, hidden, ctx):
        return hidden + self.gate * hidden.detach().mean()


@pytest.mark.parametrize("checkpointing", [None, "plain", "custom"])
def test_a_decoder_layer_hook_by_replacing_the_norm(checkpointing):
    """A closed gate changes nothing at first and learns; the hook works in the repetition of a checkpoint as well."""
    model, plain = build(checkpointing), build()
    with Tap(model, SPEC, Gate()) as tap:
        calls = iter(range(1000))

        def hooked(norm, x):
            ctx = tap.context.at(next(calls), has_grad=torch.is_grad_enabled())
            return tap.plugins.on_decoder_layer(0, norm(x), ctx)

        tap.replace(model.decoder["norm1"], "forward", hooked)
        tap.loss(model.criterion, lambda outputs, batch: ClipOutput([frame_of(outputs)]))
        assert torch.equal(model(images())["boxes"][2], plain(images())["boxes"][2])
        run(model, steps=1)
        assert tap.plugins["gate"].gate.item() != 0


def frame_of(outputs):
    boxes = outputs["boxes"][0]
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
    return FrameOutput(boxes, boxes[..., :1], valid, torch.ones(1, 2), torch.tensor([0]))


def test_the_context_of_tracking_stays_until_reset():
    model = build().eval()
    with Tap(model, SPEC, Gate()) as tap:
        first = tap.context
        assert tap.context is first
        assert not first.training
        tap.reset()
        assert tap.context is not first
        model.train()
        assert tap.context.training


# --- criteria of all kinds ---


def test_dropped_keys_are_told_in_the_next_step():
    """The loop goes by a dictionary that is not the criterion's."""
    model = build()
    mine = {"loss_box": 1.0, "loss_size": 1.0}
    dropped = r"the training loop dropped size/mean: .*weight_dict.*into"
    with pytest.raises(ValueError, match=dropped), tap_motr(model, Size()):
        run(model, steps=2, weights=mine)
    model = build()
    with pytest.raises(ValueError, match="the training loop dropped size/mean"), tap_motr(model, Size()):
        run(model, steps=1, weights=mine)
    assert not hasattr(model, "plugins")


class Plain:
    """A criterion that is no module and hides its weights under another name."""

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


def test_a_criterion_that_is_no_module():
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
def test_results_of_all_shapes(shape, pick, into):
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


def test_results_that_cannot_take_a_loss():
    class Head(nn.Module):
        def forward(self, boxes):
            return {"total": boxes.sum()}

    head = Head()
    with Tap(build(), SPEC, Size()) as tap:
        tap.loss(head, live_clip, into="total_loss")
        with pytest.raises(TypeError, match=r"a dictionary with a tensor 'total_loss' .* got NoneType"):
            head(torch.rand(1, 2, 4, requires_grad=True))


# --- what cannot be tapped ---


def test_wrapped_models_are_refused():
    with pytest.raises(ValueError, match=r"wrapped in DataParallel, .*model.module"):
        Tap(nn.DataParallel(build()), SPEC)
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    with pytest.raises(ValueError, match=r"wrapped in DistributedDataParallel"):
        Tap(wrapped, SPEC)


def test_containers_are_refused():
    with pytest.raises(ValueError, match="model is a Sequential, which would run the plug-ins"):
        Tap(nn.Sequential(nn.Linear(1, 1)), SPEC)


def test_two_taps_are_refused():
    model = build()
    with Tap(model, SPEC), pytest.raises(ValueError, match="Foreign has an attribute 'plugins' already"):
        Tap(model, SPEC)
    Tap(model, SPEC).detach()


def test_a_tracker_without_what_is_needed_stays_untouched():
    model = build()
    with pytest.raises(ValueError, match="plug-in 'size' needs a tracker that gives an embedding"):
        Tap(model, TrackerSpec("bare"), Size())
    assert not hasattr(model, "plugins")


def test_wrong_names_are_told():
    with Tap(build(), SPEC) as tap:
        with pytest.raises(ValueError, match="path: Foreign has no module 'encoder'"):
            tap.output("encoder")
        with pytest.raises(ValueError, match="name: Foreign has no method '_post'"):
            tap.method(tap.model, "_post")
        with pytest.raises(ValueError, match="give an object that has attributes"):
            tap.replace(Plain, "compute", lambda original: None)


def test_wrappers_nest_and_come_off_in_reverse():
    criterion = Plain()
    criterion.compute = lambda boxes: {"a": boxes.sum() * 3}  # a method of the object itself
    mine = criterion.compute
    with Tap(build(), SPEC) as tap:
        tap.replace(criterion, "compute", lambda original, boxes: {"a": original(boxes)["a"] + 1})
        tap.replace(criterion, "compute", lambda original, boxes: {"a": original(boxes)["a"] * 10})
        assert criterion.compute(torch.ones(2))["a"] == 70
    assert criterion.compute is mine
