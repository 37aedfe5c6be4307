import csv
import itertools
import json
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.loggers import CSVLogger

from mot_core.callbacks import EmbeddingSimilarity
from mot_core.callbacks.similarity import pair_similarities


def cosine(a, b):
    dot, squares = sum(x * y for x, y in zip(a, b, strict=True)), [sum(x * x for x in one) for one in (a, b)]
    return dot / math.sqrt(squares[0] * squares[1])


@pytest.fixture(scope="module")
def runs(make_trainer, make_tracker, make_data, tmp_path_factory):
    """The same training run without and with the callback."""

    def run(name, *callbacks):
        folder = tmp_path_factory.mktemp(name)
        tracker = make_tracker()
        logger = CSVLogger(folder, name="", version="")
        trainer = make_trainer(folder, [*callbacks], logger=logger, log_every_n_steps=1, max_epochs=2)
        trainer.fit(tracker, make_data())
        return SimpleNamespace(folder=folder, tracker=tracker, metrics=trainer.callback_metrics)

    return SimpleNamespace(
        without=run("without"), with_callback=run("with", EmbeddingSimilarity(min_score=0.0, bins=40))
    )


@pytest.fixture(scope="module")
def reference(runs, make_data):
    """All similarities of the last validation, computed from the detector in loops."""
    tracker, data = runs.with_callback.tracker.eval(), make_data()
    data.setup("validate")
    found = []
    for batch in data.val_dataloader():
        with torch.no_grad():
            rows = tracker.detector(batch.images[:, 0], batch.padding).hidden[-1, 0].double().tolist()
        found += [cosine(a, b) for a, b in itertools.combinations(rows, 2)]
    return sorted(found)


def test_statistics_match_a_reference(runs, reference):
    report = json.loads((runs.with_callback.folder / "similarity/epoch-001.json").read_text())
    assert report["pairs"] == len(reference) == 8 * 28
    assert report["mean"] == pytest.approx(sum(reference) / len(reference), abs=1e-5)
    assert report["above_0.9"] == pytest.approx(sum(one > 0.9 for one in reference) / len(reference), abs=1e-9)
    assert sum(report["counts"]) == report["pairs"]
    width = 2 / 40
    assert report["edges"] == pytest.approx([-1 + index * width for index in range(41)])
    for bin_, count in enumerate(report["counts"]):
        low, high = report["edges"][bin_], report["edges"][bin_ + 1]
        margin = 1e-5  # float32 rounding can move a value across an edge
        sure = sum(low + margin < one < high - margin for one in reference)
        assert sure <= count <= sum(low - margin <= one <= high + margin for one in reference)
    for name, value in report["quantiles"].items():
        assert value == pytest.approx(reference[int(float(name) * len(reference))], abs=width)


def test_statistics_are_logged(runs):
    report = json.loads((runs.with_callback.folder / "similarity/epoch-001.json").read_text())
    with (runs.with_callback.folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/similarity_mean"]]
    assert len(rows) == 2
    assert float(rows[1]["val/similarity_mean"]) == pytest.approx(report["mean"], abs=1e-5)
    assert float(rows[1]["val/similarity_above_0.9"]) == pytest.approx(report["above_0.9"], abs=1e-5)
    assert float(rows[1]["val/similarity_median"]) == pytest.approx(report["quantiles"]["0.5"], abs=1e-5)
    assert float(rows[1]["val/HOTA"]) == 100


def test_training_is_unchanged(runs):
    one, other = runs.without.tracker.state_dict(), runs.with_callback.tracker.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    for name, value in runs.without.metrics.items():
        assert torch.equal(value, runs.with_callback.metrics[name]), name
    assert "on_embeddings" not in vars(runs.with_callback.tracker.plugins)


def test_plots_are_saved(runs):
    from PIL import Image

    folder = runs.with_callback.folder / "similarity"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"epoch-00{epoch}.{kind}" for epoch in (0, 1) for kind in ("json", "png")
    ]
    with Image.open(folder / "epoch-001.png") as image:
        assert image.size == (900, 480)


def test_frames_without_pairs_and_skipped_epochs(make_trainer, make_tracker, make_data, tmp_path):
    class Check(Callback):
        def on_validation_epoch_start(self, trainer, pl_module):
            taps.append("on_embeddings" in vars(pl_module.plugins))

    taps = []
    callback = EmbeddingSimilarity(every_n_epochs=2, min_score=0.99)
    trainer = make_trainer(tmp_path, [callback, Check()], max_epochs=2, limit_train_batches=1)
    trainer.fit(make_tracker(), make_data(num_val_videos=1, num_frames=2))
    assert taps == [False, False, True]  # the first entry is the sanity check
    assert not any(name.startswith("val/similarity") for name in trainer.callback_metrics)
    assert list(tmp_path.rglob("*.json")) == []


def test_interruption_restores_the_tracker(make_trainer, make_tracker, make_data, tmp_path):
    class Interrupt(Callback):
        def on_validation_batch_end(self, trainer, pl_module, *_):
            assert "on_embeddings" in vars(pl_module.plugins)
            raise RuntimeError("crash")

    tracker = make_tracker()
    with pytest.raises(RuntimeError, match="crash"):
        make_trainer(tmp_path, [EmbeddingSimilarity(), Interrupt()]).validate(tracker, make_data(), verbose=False)
    assert "on_embeddings" not in vars(tracker.plugins)


def test_no_plots_without_matplotlib(make_trainer, make_tracker, make_data, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level("INFO"):
        callback = EmbeddingSimilarity(min_score=0.0, folder=tmp_path / "here")
        make_trainer(tmp_path, [callback]).validate(make_tracker(), make_data(num_frames=2), verbose=False)
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["epoch-000.json"]
    assert "EmbeddingSimilarity writes no plots: drawing needs" in caplog.text


def test_number_of_pairs():
    assert [len(pair_similarities(torch.rand(rows, 3))) for rows in (0, 1, 2, 5)] == [0, 0, 1, 10]


def test_invalid_arguments_and_models_are_rejected():
    with pytest.raises(ValueError, match="bins: expected at least 1, got 0"):
        EmbeddingSimilarity(bins=0)
    with pytest.raises(
        TypeError, match=r"expected a mot_core tracker with the capability 'embeddings', got LightningModule"
    ):
        EmbeddingSimilarity().setup(None, LightningModule(), "fit")
