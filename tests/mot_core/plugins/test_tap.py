"""Tap: training, captures and complete removal."""

import copy

import pytest
import torch
from torch import nn

from _helpers.trackers.foreign_tracker import SPEC, Size, assert_equal, build, images, own_state, run, tap_motr
from mot_core.plugins import Plugin
from mot_core.structures import ClipOutput, FrameOutput
from mot_core.tap import Tap

# --- training and removal ---


def test_losses_train_tracker_and_plugin():
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


def test_detaching_restores_the_model():
    model, plain = build(), build()
    attributes = {id(module): set(module.__dict__) for module in model.modules()}
    with tap_motr(model, Size(weight=0.0)) as tap:
        tap.output("decoder.norm1")
        tap.replace(model.decoder["norm1"], "forward", lambda original, x: original(x) * 1)
        tapped = run(model)
    bare = run(plain)
    for a, b in zip(tapped, bare, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in b), "with weight zero, training does not change"
    assert list(model.state_dict()) == list(plain.state_dict())
    assert_equal(own_state(model), own_state(plain))
    assert {id(module): set(module.__dict__) for module in model.modules()} == attributes
    assert model.criterion.weight_dict == plain.criterion.weight_dict
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model.eval()(images())["boxes"][0], plain.eval()(images())["boxes"][0])
    copy.deepcopy(model)  # nothing left prevents copying


class FailsLater(dict):
    """Weights that raise an error in the first training step."""

    def __contains__(self, key):
        raise KeyError("mine")


def test_errors_in_training_are_propagated():
    model = build()
    with pytest.raises(KeyError, match="mine"), tap_motr(model, Size()):
        run(model, weights=FailsLater())
    assert not hasattr(model, "plugins")


def test_evaluation_adds_no_losses():
    model = build()
    with tap_motr(model, Size()) as tap:
        model.eval()
        losses = model.criterion(model(images()), None)
        assert set(losses) == {"loss_box", "loss_size", "error"}
        assert tap.step == 0


def test_warmup_counts_steps():
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


def test_captures_are_ordered_and_cleared_by_the_loss():
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
def test_checkpoint_outputs_are_captured_once(checkpointing):
    """Losses and weights are equal with and without checkpointing, and no captures remain."""
    model, plain = build(checkpointing), build()
    with tap_motr(model, Size()) as tap, tap_motr(plain, Size()):
        for a, b in zip(run(model, steps=2), run(plain, steps=2), strict=True):
            assert_equal(a, b)
        assert not tap.captured
    for name, value in own_state(plain).items():
        torch.testing.assert_close(own_state(model)[name], value)


@pytest.mark.parametrize("checkpointing", ["reentrant", "custom"])
def test_captures_inside_a_checkpoint_have_no_gradient(checkpointing):
    model = build(checkpointing)
    with Tap(model, SPEC) as tap:
        tap.output("decoder.norm1")
        with pytest.raises(ValueError, match=r"output 'decoder.norm1' has no gradient in training.*of the check"):
            model(images())
    with Tap(model, SPEC) as tap:
        tap.method(model, "_network", after=lambda result, image: result)
        with pytest.raises(ValueError, match="method '_network' has no gradient in training"):
            model(images())
    with Tap(model, SPEC) as tap:
        tap.output("decoder.norm1", live=False)
        tap.method(model, "_network", before=lambda image: image, live=False)
        model(images())
        assert len(tap.captured["decoder.norm1"]) == len(tap.captured["_network"]) == 3


def test_recomputation_is_not_captured():
    model = build("plain")
    with tap_motr(model, Size()) as tap:
        tap.method(model, "_network", after=lambda result, image: result[0])
        losses = model.criterion(model(images()), None)
        tap.captured.clear()
        tap.output("decoder.norm1")
        sum(losses[key] for key in model.criterion.weight_dict).backward()
        assert not tap.captured
        model(images())
        assert {key: len(values) for key, values in tap.captured.items()} == {
            "decoder.norm1": 3, "_network": 3, "frames": 3,
        }  # fmt: skip


def test_evaluation_between_steps_leaves_no_captures():
    model = build()
    with tap_motr(model, Size()) as tap:
        tap.output("decoder.norm1", live=False)
        run(model, steps=1)
        model.eval()(images(5))
        assert list(tap.captured) == ["decoder.norm1"]
        model.train()
        run(model, steps=1)
        assert not tap.captured


def test_detached_tensors_are_rejected():
    model = build()
    with Tap(model, SPEC) as tap:
        tap.output("boxes", lambda output: {"boxes": [output.detach()], "ids": torch.ones(2).long()})
        with pytest.raises(ValueError, match="output 'boxes' has no gradient"):
            model(images())
        model.eval()(images())
        assert not tap.captured


# --- plug-in hooks in a third-party decoder ---


class Gate(Plugin):
    name = "gate"

    def setup(self, spec):
        self.gate = nn.Parameter(torch.zeros(()))
        return {}

    def on_decoder_layer(self, layer, hidden, ctx):
        return hidden + self.gate * nn.functional.dropout(hidden)


def tap_decoder(model):
    tap = Tap(model, SPEC, Gate())

    def hooked(norm, x):
        return tap.plugins.on_decoder_layer(0, norm(x), tap.context.at(0, has_grad=torch.is_grad_enabled()))

    tap.replace(model.decoder["norm1"], "forward", hooked)
    tap.loss(model.criterion, lambda outputs, batch: ClipOutput([frame_of(outputs)]))
    return tap


@pytest.mark.parametrize("checkpointing", ["plain", "custom"])
def test_decoder_layer_hook_through_a_replaced_norm(checkpointing):
    """A gate initialized to zero is neutral at first and learns; checkpoints repeat the hook and its dropout."""
    model, plain = build(checkpointing), build()
    assert torch.equal(model(images())["boxes"][2], plain(images())["boxes"][2])
    with tap_decoder(model) as tap, tap_decoder(plain) as plain_tap:
        torch.manual_seed(5)
        plain_losses = run(plain)
        torch.manual_seed(5)
        for a, b in zip(run(model), plain_losses, strict=True):
            torch.testing.assert_close(a, b)
        gates = [one.plugins["gate"].gate for one in (tap, plain_tap)]
        assert gates[0].item() != 0
        torch.testing.assert_close(*gates)


def frame_of(outputs):
    boxes = outputs["boxes"][0]
    valid = torch.ones(boxes.shape[:2], dtype=torch.bool)
    return FrameOutput(boxes, boxes[..., :1], valid, torch.ones(1, 2), torch.tensor([0]))


def test_tracking_context_is_kept_until_reset():
    model = build().eval()
    with Tap(model, SPEC, Gate()) as tap:
        first = tap.context
        assert tap.context is first
        assert not first.training
        tap.reset()
        assert tap.context is not first
        model.train()
        assert tap.context.training
