import lightning
import pytest
import torch
from em_kalman_scenes import make_scene
from torch.utils.data import DataLoader

from em_kalman import AssociationCollapse, NeuralKalmanFilter, Schedule, WindowBatch, WindowSampler, fit
from em_kalman.lightning import EMKalmanModule

WINDOWS = WindowSampler([make_scene(0, 6)[1]], stride=10)


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
    "ignore:.*does not have many workers", "ignore:.*number of training batches", "ignore:.*no `val_dataloader`"
)


def test_equals_plain_training(tmp_path):
    """All windows in one batch, as Lightning draws the order of batches in its own way."""
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


def test_a_collapse_is_told_after_one_epoch(tmp_path):
    torch.manual_seed(0)
    module = EMKalmanModule(warmup_epochs=0)
    with torch.no_grad():
        module.model.dustbin.fill_(20)
    with pytest.raises(AssociationCollapse):
        trainer(tmp_path, 1).fit(module, loader())


def test_resumes_within_either_stage(tmp_path):
    """Batches in one order, as the order of a DataLoader is not of the checkpoint."""
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


def test_validation_tells_the_likelihood_of_other_detections(tmp_path):
    held_out = DataLoader(WINDOWS, batch_size=4, collate_fn=WindowBatch.stack)
    (values,) = trainer(tmp_path, 1).validate(EMKalmanModule(), held_out, verbose=False)
    assert values["val/nll_per_det"] > 0
