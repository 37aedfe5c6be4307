"""Exact resuming of interrupted training, and independence of the number of workers."""

from dataclasses import replace

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from _helpers.trackers.tracker_cases import DETR_TRACKERS, SHIPPED_TRACKERS, SMALL, Losses, make, synthetic, trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:Be aware that when using `ckpt_path`:UserWarning",
    "ignore:Checkpoint directory .* exists and is not empty:UserWarning",
)


class Crash(lightning.Callback):
    """Callback that ends training before a given step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == self.step:
            raise ConnectionError("crash")


def fit(name, folder, workers, *callbacks, checkpoint=None):
    """Train with dropout; checkpoints do not store its random state."""
    tracker = make(name, **({"detector": replace(SMALL, dropout=0.1)} if name in DETR_TRACKERS else {}))
    save = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    losses = Losses()
    run = trainer(folder, losses, save, *callbacks, enable_checkpointing=True)
    data = synthetic(num_workers=workers, num_val_videos=1, num_frames=4, clip_length=2, stride=4)
    try:
        run.fit(tracker, data, ckpt_path=checkpoint, weights_only=True)
    except ConnectionError:
        assert run.interrupted
    return tracker, losses.values, run


def everything(tracker, run):
    state = run.optimizers[0].state_dict()["state"]
    return {**tracker.state_dict(), **{f"{n} {k}": v for n, one in state.items() for k, v in one.items()}}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", SHIPPED_TRACKERS)
def test_interrupted_training_resumes_exactly(tmp_path, name, workers):
    whole, losses, run = fit(name, tmp_path / "whole", workers)
    assert len(losses) == 6
    expected = everything(whole, run)
    for step in (2, 3) if workers else (1, 2, 3, 5):  # within an epoch of three steps, and between epochs
        folder = tmp_path / str(step)
        torch.rand(step)  # results must not depend on earlier random draws
        assert fit(name, folder, workers, Crash(step))[1] == losses[:step]
        resumed, rest, run = fit(name, folder, workers, checkpoint=folder / f"step={step}.ckpt")
        assert rest == losses[step:]
        found = everything(resumed, run)
        assert found.keys() == expected.keys()
        different = [key for key, value in expected.items() if not torch.equal(value, found[key])]
        assert not different


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED_TRACKERS)
def test_training_does_not_depend_on_workers(tmp_path, name):
    (one, losses, _), (other, again, _) = (fit(name, tmp_path / str(workers), workers) for workers in (0, 2))
    assert losses == again
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
