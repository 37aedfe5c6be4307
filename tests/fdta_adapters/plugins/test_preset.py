"""All three adapters together: preset, callback, resume, precision, determinism."""

import pytest
import torch

from _helpers import fdta_reference as reference
from _helpers.trackers.tracker_cases import EAGER, Losses, batches, make, synthetic, trainer
from fdta_adapters import FDTA, FDTA_RELEASED, DepthBins, SpatialAdapter, TemporalAdapter
from fdta_adapters.lightning import FDTACallback
from mot_core.trackers import Tracker

SMALL = {
    "spatial": {"num_bins": 12},
    "temporal": {"layers": 1},
    "identity": {"start_epoch": 0, "min_quality": 0.0, "weighting": "none"},
}
NAMES = ["fdta_spatial", "fdta_temporal", "fdta_identity"]


def attached(name="motip", **options):
    tracker = make(name, **options)
    FDTA(**SMALL).attach(tracker)
    tracker.setup()
    reference.randomize(tracker.plugins, scale=0.2)
    return tracker


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_all_adapters_train_together(name):
    tracker = attached(name)
    losses, _ = tracker.losses(batches()[0])
    assert {f"{one}/loss" for one in NAMES} <= losses.keys()
    sum(losses.values()).backward()
    for key, parameter in tracker.named_parameters():
        if key.startswith("plugins.fdta_spatial") or (name == "motip" and key.startswith("plugins.")):
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            # A bias of keys shifts all scores of a softmax alike.
            assert parameter.grad.any() or "bias" in key, key


def test_loss_falls_in_training():
    tracker = attached("motr")
    optimizer = torch.optim.Adam(tracker.parameters(), lr=2e-3)
    batch, values = batches()[0], []
    for _ in range(12):
        losses, _ = tracker.losses(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        values.append({one: losses[f"{one}/loss"].item() for one in ("fdta_spatial", "fdta_identity")})
    assert values[-1]["fdta_spatial"] < values[0]["fdta_spatial"]
    assert values[-1]["fdta_identity"] < values[0]["fdta_identity"]


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_same_seed_same_losses():
    found = []
    for _ in range(2):
        losses, _ = attached().losses(batches()[0])
        sum(losses.values()).backward()
        found.append({name: loss.item() for name, loss in losses.items()})
    assert found[0] == found[1]


def test_callback_attaches_the_chosen_adapters(tmp_path):
    options = {"spatial": SMALL["spatial"], "temporal": SMALL["temporal"], "identity": SMALL["identity"]}
    for use in ({}, {"use_spatial": False}, {"use_temporal": False, "use_identity": False}):
        callback = FDTACallback(depth_weight=0.5, identity_weight=0.25, **use, **options)
        tracker = make("motip")
        run = trainer(tmp_path, callback, max_epochs=1, limit_train_batches=1)
        run.fit(tracker, datamodule=synthetic())
        wanted = [one for one in NAMES if use.get(f"use_{one.removeprefix('fdta_')}", True)]
        assert list(tracker.plugins) == wanted
        weights = {"fdta_spatial": 0.5, "fdta_temporal": 1.0, "fdta_identity": 0.25}
        assert all(tracker.plugins[one].weight == weights[one] for one in wanted)


def test_released_settings():
    plugins = {plugin.name: plugin for plugin in FDTACallback(released=True).callbacks and FDTA(**FDTA_RELEASED)}
    assert plugins["fdta_spatial"].bins == DepthBins(value="left_edge")
    assert plugins["fdta_identity"].settings["chunk"] == 10
    (spatial, _, identity) = FDTACallback(released=True, identity={"chunk": 5}).callbacks
    assert spatial.plugin.normalizer == "boxes"
    assert identity.plugin.settings["chunk"] == 5
    assert identity.plugin.settings["quality"] == "giou"


@pytest.mark.slow
def test_resumed_training_equals_uninterrupted_training(tmp_path):
    """The head of the identity adapter is part of the checkpoint, with its optimizer state and the schedule."""

    def fit(epochs, folder, checkpoint=None):
        losses, tracker = Losses(), make("motip")
        options = {**SMALL, "identity": SMALL["identity"] | {"start_epoch": 1}}
        run = trainer(tmp_path / folder, FDTACallback(**options), losses, max_epochs=epochs)
        run.fit(tracker, datamodule=synthetic(), ckpt_path=checkpoint)
        return run, tracker, losses.values

    _, whole, wanted = fit(2, "whole")
    run, _, first = fit(1, "first")
    run.save_checkpoint(tmp_path / "first.ckpt")
    _, resumed, second = fit(2, "second", tmp_path / "first.ckpt")
    assert first + second == wanted
    state = resumed.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_saved_and_rebuilt(name, tmp_path):
    """Loaded, without the adapters, and with them again."""

    def tracks(tracker):
        data = synthetic()
        data.setup("validate")
        return torch.cat([tracker.eval().track(batch).scores for batch in data.val_dataloader()])

    tracker, content = attached(name, **EAGER[name]), {}
    tracker.on_save_checkpoint(content)
    torch.save({**content, "state_dict": tracker.state_dict()}, tmp_path / "a.ckpt")
    wanted = tracks(tracker)
    assert torch.equal(tracks(Tracker.from_checkpoint(tmp_path / "a.ckpt")), wanted)
    bare = tracks(Tracker.from_checkpoint(tmp_path / "a.ckpt", recorded_plugins=False))
    assert not (bare.shape == wanted.shape and torch.equal(bare, wanted))
    assert torch.equal(tracks(Tracker.from_checkpoint(tmp_path / "a.ckpt", *FDTA(**SMALL))), wanted)


@pytest.mark.parametrize("name", ["motip", "motr"])
def test_mixed_precision(name):
    batch, found = batches()[0], []
    for enabled in (False, True):
        tracker = attached(name)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses, _ = tracker.losses(batch)
        sum(losses.values()).backward()
        found.append(losses)
    for one in NAMES:
        torch.testing.assert_close(*(losses[f"{one}/loss"].float() for losses in found), rtol=0.1, atol=0.05)


def test_full_size_is_built_without_a_gpu():
    with torch.device("meta"):
        spatial, temporal = SpatialAdapter(), TemporalAdapter()
    count = {name: sum(one.numel() for one in part.parameters()) for name, part in spatial.named_children()}
    assert count["cross"] == 6 * 263_680
    assert sum(count.values()) - count["cross"] == 1_814_167
    assert sum(one.numel() for one in temporal.parameters()) == 3_162_624
