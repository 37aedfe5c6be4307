from types import SimpleNamespace

import pytest
from lightning import LightningModule

from _helpers.trackers.toy_tracker import SMALL
from mot_core.callbacks import MemoryEstimate
from mot_core.callbacks import memory as module
from mot_core.callbacks.memory import advice_message, available_memory
from mot_core.trackers import MOTIP
from mot_core.trackers.memory import StepMemory, estimate_memory

STEP = StepMemory(100, 100, 200, 600, int(9e9), 1000, 4, 30)


@pytest.fixture
def estimate(make_tracker, make_data):
    """Run the callback on the first batch."""

    def run():
        data = make_data()
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        trainer = SimpleNamespace(is_global_zero=True, precision="32-true")
        MemoryEstimate().on_train_batch_start(trainer, make_tracker(), batch, 0)

    return run


def test_table_is_printed_once(make_trainer, make_tracker, make_data, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(module, "available_memory", lambda device: 2**40)
    trainer = make_trainer(tmp_path, [MemoryEstimate()], max_epochs=2, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(make_tracker(), make_data())
    printed = capsys.readouterr().out
    assert printed.count("memory of a training step: 2 x 2 frames of 48 x 80") == 1
    expected = estimate_memory(make_tracker(), (48, 80), 2, 2)
    rows = dict(line.strip("│ ").split("│") for line in printed.splitlines() if line.count("│") == 3)
    assert {name.strip(): size.strip() for name, size in rows.items()} == {
        "parameters": f"{expected.parameters / 1e6:.1f} MB",
        "gradients": f"{expected.gradients / 1e6:.1f} MB",
        "optimizer states": f"{expected.optimizer / 1e6:.1f} MB",
        "images": f"{expected.images / 1e6:.1f} MB",
        "detector, 2 of 2 frames for backward": f"{expected.activations / 1e6:.1f} MB",
        "one frame of each clip": f"{expected.frame / 1e6:.1f} MB",
        "at least": f"{expected.total / 1e6:.1f} MB",
        "available": "1099.51 GB",
    }


def test_insufficient_memory_warning(estimate, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda device: 10**6)
    with pytest.warns(UserWarning, match=r"at least .* MB of memory, but 1.0 MB are available; use checkpointing=true"):
        estimate()


def test_unknown_available_memory(estimate, monkeypatch, capsys):
    monkeypatch.setattr(module, "available_memory", lambda device: None)
    estimate()
    assert "available" not in capsys.readouterr().out


def test_advice_depends_on_the_settings(make_tracker):
    checkpointed = make_tracker(checkpointing=True)
    with_fewer = MOTIP(SMALL, id_layers=1)
    assert advice_message(STEP, int(8e9), with_fewer).endswith(
        "needs at least 36.00 GB of memory, but 8.00 GB are available; use checkpointing=true, a smaller "
        "gradient_frames, shorter clips or smaller images"
    )
    one = StepMemory(100, 100, 200, 600, int(9e9), 1000, 1, 1)
    assert advice_message(one, int(8e9), checkpointed).endswith("are available; use smaller images")


def test_available_memory_of_the_cpu():
    assert 10**7 < available_memory("cpu") < 10**14


def test_other_modules_are_rejected():
    with pytest.raises(TypeError, match=r"expected a mot_core tracker and a ClipBatch, got LightningModule"):
        MemoryEstimate().on_train_batch_start(type("T", (), {"is_global_zero": True})(), LightningModule(), None, 0)
