"""``mot fit`` with the callback on the command line: logged terms and settings."""

import csv

import pytest

from mot_core.cli import main

CONFIG = """
model:
  class_path: MOTR
  init_args:
    detector: {backbone: small, num_queries: 5, embed_dim: 32, ffn_dim: 32, num_levels: 3, num_encoder_layers: 1,
               num_decoder_layers: 2}
data:
  class_path: SyntheticDataModule
  init_args: {num_videos: 2, num_val_videos: 1, num_frames: 4, image_size: [48, 80], clip_length: 2, stride: 4}
trainer: {accelerator: cpu, max_epochs: 1, limit_val_batches: 0, log_every_n_steps: 1, enable_model_summary: false}
"""


@pytest.fixture
def fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(name, "0")
    (tmp_path / "small.yaml").write_text(CONFIG)
    return lambda *arguments: main(["fit", "--config", "small.yaml", "--output", "run", *arguments])


@pytest.mark.parametrize("name", ["unitrack_loss.lightning.UniTrackCallback", "UniTrackCallback"])
def test_callback_from_the_command_line(fit, tmp_path, name):
    added = f"--trainer.callbacks+={name}", "--trainer.callbacks.weight=0.3", "--trainer.callbacks.warmup_steps=0"
    assert fit(*added, "--trainer.callbacks.preset=paper", "--trainer.callbacks.window=4") == 0
    folder = tmp_path / "run" / "version_0"
    (table,) = folder.glob("**/metrics.csv")
    with table.open() as lines:
        columns = set(next(csv.reader(lines)))
    assert {"train/unitrack/loss", "train/unitrack/flow", "train/unitrack/id_accuracy"} <= {
        column.removesuffix("_step") for column in columns
    }
    assert "window: 4" in (folder / "config.yaml").read_text()


def test_invalid_setting_is_named(fit, capsys):
    assert fit("--trainer.callbacks+=UniTrackCallback", "--trainer.callbacks.windo=4") != 0
    assert "UniTrackCallback has no argument 'windo'" in capsys.readouterr().err
