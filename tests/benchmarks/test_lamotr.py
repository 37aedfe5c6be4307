"""The benchmarks of LA-MOTR: rows of the effect study, cost at small sizes, and costs on sequences."""

import importlib
import json

import pytest

from benchmarks.lamotr import cost, effect, real_sequences
from benchmarks.training import variants
from lamotr import CostTraining
from mot_core.cli import main as mot

SMALL = {"backbone": "small", "num_queries": 12, "embed_dim": 32, "num_heads": 4, "ffn_dim": 32, "num_levels": 3,
         "num_encoder_layers": 1, "num_decoder_layers": 2}  # fmt: skip


def test_every_row_is_trained_once_and_compared_with_the_first(monkeypatch, tmp_path, capsys):
    ran = []

    def run(tracker, seed, folder, videos, more, test_seeds, config):
        ran.append((config, seed, tuple(more)))
        plain = not any("association" in one or "cue" in one for one in more)
        scores = dict.fromkeys(variants.METRICS, 50.0) | {"HOTA": 60.0 + seed + 5.0 * plain}
        test = {"recall": 90.0, "trackers": {"LAMOTR": scores}}
        command = f"mot fit --config {config} ..."
        return {"tracker": "LAMOTR", "seed": seed, "command": command, "cpu_minutes": 5.0, "test": test}

    def train(tracker, seed, folder, more, config):
        assert tuple(more) == effect.START
        return [], tmp_path / f"start{seed}.ckpt"

    monkeypatch.setattr(variants, "run", run)
    monkeypatch.setattr(variants, "train", train)
    command = ["--part=association", "--seeds", "1", "2", "--processes=1"]
    for _ in range(2):
        effect.main([*command, f"--results={tmp_path / 'lines.jsonl'}", f"--output={tmp_path}"])
    rows = effect.PARTS["association"].arguments
    assert ran == [
        ("lamotr_synthetic", seed, (*more, "--init", str(tmp_path / f"start{seed}.ckpt")))
        for seed in (1, 2)
        for more in rows.values()
    ]
    lines = [json.loads(one) for one in (tmp_path / "lines.jsonl").read_text().splitlines()]
    tables = effect.tables(lines)
    assert "| single decoder | 2 | 61.5 ± 0.7 (worst 61.0) |" in tables["association"]
    assert "| *SGLA - single decoder* | 2 | **+5.0** (+5.0 to +5.0; worst +5.0, seed 1) |" in tables["association"]
    assert tables["motr"] == "Not measured yet."


@pytest.mark.parametrize("part", effect.PARTS.values(), ids=effect.PARTS)
def test_arguments_of_the_rows_are_known(part, capsys):
    for more in [*part.rows.values(), part.start[:1]]:
        if more:
            mot(["fit", "--config", f"{part.tracker}_synthetic", *more, "--print_config"])
            text = capsys.readouterr().out
            name, _, value = more[-1].partition("=")
            expected = "num_layers: 2" if "{" in value else f"{name.rsplit('.', 1)[1]}: {value}"
            assert expected in text


def test_cost_of_frames_steps_and_growth():
    seconds = cost.frames((64, 96), 1, "cpu", **SMALL)
    assert seconds.keys() == cost.VARIANTS.keys()
    assert all(value > 0 for value in seconds.values())
    assert cost.step("SGLA", (64, 96), **SMALL)["seconds"] > 0
    row = cost.alone(12, 3, embed_dim=32, num_layers=1, ffn_dim=32)
    assert (row["objects"], row["tracks"]) == (12, 3)
    assert row["with_backward_s"] >= row["forward_s"] > 0


def test_costs_on_sequences(monkeypatch, tmp_path, capsys):
    """Every cost is trained once on the training videos, and tested with the thresholds that validation chose."""
    synthetic = importlib.import_module("unitrack_association.videos").synthetic  # found by the benchmark
    videos = {split: synthetic(range(seed, seed + 1), (2,), 30) for seed, split in enumerate(("train", "val", "test"))}
    two_steps = real_sequences.Config(steps=2)
    small = {
        "SGLA": lambda given, seed: real_sequences.train_sgla(given, seed, CostTraining(steps=3, seed=seed)),
        "two-way cross-entropy": lambda given, seed: real_sequences.train_two_way(given, seed, two_steps),
    }
    monkeypatch.setattr(real_sequences, "LEARNED", small)
    results = tmp_path / "results.jsonl"
    for _ in range(2):
        real_sequences.measure(videos, results, [0])
    lines = [json.loads(one) for one in results.read_text().splitlines()]
    assert [line["name"] for line in lines] == ["IoU", *small]
    assert all(tuple(line["thresholds"]) in real_sequences.THRESHOLDS for line in lines[1:])
    text = real_sequences.render(lines)
    assert text.startswith("**Mean over the data sets, one frame in 2**")
    assert all(f"| {name} | 1 |" in text for name in small)
