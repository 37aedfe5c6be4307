from contextlib import suppress

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from _helpers.em_kalman_scenes import make_scene
from em_kalman import AssociationCollapse, NeuralKalmanFilter, Schedule, WindowBatch, WindowSampler, fit
from em_kalman.lightning import EMKalmanModule

WINDOWS = WindowSampler([make_scene(0, 6)[1]], stride=10)


class Enough(lightning.Callback):
    """Stops training after this epoch, like EarlyStopping."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch == self.epoch


def loader(batch_size=4):
    return DataLoader(WINDOWS, batch_size=batch_size, shuffle=True, collate_fn=WindowBatch.stack)


def trainer(path, epochs, **options):
    return lightning.Trainer(
        max_epochs=epochs,
        default_root_dir=path,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=10.0,
        **{"enable_checkpointing": False} | options,
    )


pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory .* exists",
    "ignore:.*does not have many workers",
    "ignore:.*number of training batches",
    "ignore:.*no `val_dataloader`",
)


def test_module_equals_plain_training(tmp_path):
    """One batch with all windows, because Lightning shuffles batches in its own way."""
    torch.manual_seed(0)
    module = EMKalmanModule(warmup_epochs=8, hidden=8)
    torch.manual_seed(0)
    plain = NeuralKalmanFilter(hidden=8)
    run = trainer(tmp_path, 12)
    run.fit(module, loader(len(WINDOWS)))
    schedule = Schedule(warmup_epochs=8, epochs=4, min_steps=0, batch_size=len(WINDOWS), collapse_above=1.0)
    history = fit(plain, WINDOWS, schedule)
    for found, wanted in zip(module.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert run.logged_metrics["train/unexplained"].item() == pytest.approx(history[-1]["unexplained"], abs=1e-3)
    assert run.logged_metrics.keys() >= {"train/loss", "train/nll_per_det", "train/dustbin", "train/assoc_entropy"}


def test_collapse_error_after_one_epoch(tmp_path):
    torch.manual_seed(0)
    module = EMKalmanModule(warmup_epochs=0)
    with torch.no_grad():
        module.model.dustbin.fill_(20)
    with pytest.raises(AssociationCollapse):
        trainer(tmp_path, 1).fit(module, loader())


def test_resume_in_either_stage(tmp_path):
    """Fixed batch order, because checkpoints do not store the order of a DataLoader."""
    fixed = DataLoader(WINDOWS, batch_size=4, collate_fn=WindowBatch.stack)
    whole = EMKalmanModule(warmup_epochs=2)
    torch.manual_seed(1)
    start = EMKalmanModule(warmup_epochs=2).state_dict()
    whole.load_state_dict(start)
    trainer(tmp_path, 4).fit(whole, fixed)
    for stop in (1, 3):
        part = EMKalmanModule(warmup_epochs=2)
        part.load_state_dict(start)
        run = trainer(tmp_path, stop)
        run.fit(part, fixed)
        run.save_checkpoint(tmp_path / "part.ckpt")
        rest = EMKalmanModule(warmup_epochs=2)
        trainer(tmp_path, 4).fit(rest, fixed, ckpt_path=tmp_path / "part.ckpt", weights_only=True)
        for found, wanted in zip(rest.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("epochs", "options"),
    [(3, {}), (2, {}), (9, {"max_steps": 7}), (-1, {"max_steps": 5}), (9, {"callbacks": Enough(2)})],
)
def test_detection_probability_is_learned_at_every_end(tmp_path, epochs, options):
    """Three steps per epoch; two epochs form the first stage, whose end calibrates the dustbin."""
    torch.manual_seed(0)
    module = EMKalmanModule(warmup_epochs=1 if epochs == -1 else 2)
    trainer(tmp_path, epochs, **options).fit(module, loader())
    assert 0.5 < module.model.detection_probability[0] < 1
    assert module.model.dustbin != 0


class StopAt(lightning.Callback):
    """Save and stop in a hook of the last epoch, like Ctrl-C in ``mot fit``."""

    def __init__(self, path, hook):
        self.path = path
        setattr(self, hook, self.stop)

    def stop(self, trainer, module, *_):
        if trainer.global_step == 9:
            trainer.save_checkpoint(self.path)
            raise ConnectionError("power cut")


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
def test_detection_probability_after_interruption_at_the_end(tmp_path, hook):
    fixed = DataLoader(WINDOWS, batch_size=4, collate_fn=WindowBatch.stack)
    found = []
    for path, callbacks in ((None, []), (None, [StopAt(tmp_path / "cut.ckpt", hook)]), (tmp_path / "cut.ckpt", [])):
        torch.manual_seed(0)
        module = EMKalmanModule(warmup_epochs=2)
        run = trainer(tmp_path, 3, callbacks=callbacks)
        with suppress(ConnectionError):
            run.fit(module, fixed, fixed, ckpt_path=path, weights_only=True)
        found.append(module.model.detection_probability)
    assert torch.equal(found[2], found[0])
    assert found[1].tolist() == [1, 1, 1]
    assert found[0][0] < 1


def test_validation_likelihood(tmp_path):
    held_out = DataLoader(WINDOWS, batch_size=4, collate_fn=WindowBatch.stack)
    (values,) = trainer(tmp_path, 1).validate(EMKalmanModule(), held_out, verbose=False)
    assert values["val/nll_per_det"] > 0
