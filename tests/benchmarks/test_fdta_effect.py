import json

import pytest

from benchmarks.fdta import effect
from benchmarks.training import variants
from mot_core.cli import main as mot


def test_every_row_is_trained_once_and_compared_with_the_first(monkeypatch, tmp_path, capsys):
    ran = []

    def run(tracker, seed, folder, videos, more, test_seeds, config):
        ran.append((config, seed, tuple(more)))
        better = 5.0 * ("--trainer.callbacks.use_identity=false" not in more)
        scores = dict.fromkeys(variants.METRICS, 50.0) | {"HOTA": 60.0 + seed + better}
        test = {"recall": 90.0, "similarity": 0.5, "similar_objects": 40.0 - 4 * better, "trackers": {"MOTIP": scores}}
        command = f"mot fit --config {config} ..."
        return {"tracker": "MOTIP", "seed": seed, "command": command, "cpu_minutes": 5.0, "test": test}

    def train(tracker, seed, folder, more, config):
        assert tuple(more) == effect.MOTIP_START
        return [], tmp_path / f"start{seed}.ckpt"

    monkeypatch.setattr(variants, "run", run)
    monkeypatch.setattr(variants, "train", train)
    command = ["--part=adapters", "--seeds", "3", "4", "--processes=1"]
    for _ in range(2):
        effect.main([*command, f"--results={tmp_path / 'lines.jsonl'}", f"--output={tmp_path}"])
    rows = effect.PARTS["adapters"].arguments
    assert ran == [
        ("fdta_motip_synthetic", seed, (*more, "--init", str(tmp_path / f"start{seed}.ckpt")))
        for seed in (3, 4)
        for more in rows.values()
    ]
    assert {more[: len(effect.MOTIP_ROWS)] for more in rows.values()} == {effect.MOTIP_ROWS}
    lines = [json.loads(one) for one in (tmp_path / "lines.jsonl").read_text().splitlines()]
    text = effect.tables(lines)["adapters"]
    assert "| none | 2 | 63.5 ± 0.7 (worst 63.0) |" in text
    assert "| *IA - none* | 2 | **+5.0** (+5.0 to +5.0; worst +5.0, seed 3) |" in text
    assert "**-20.0**" in text  # pairs above 0.9
    assert "| *SA - none* | 2 | +0.0 (" in text
    # A row that two parts share is trained once.
    assert "| IA | 1 | 68.0 |" in effect.tables(lines)["choices"]


def test_rows_of_another_recipe_do_not_count(tmp_path):
    arguments = list(effect.PARTS["adapters"].arguments["none"])
    line = {
        "variant": "none",
        "tracker": "MOTIP",
        "seed": 3,
        "arguments": arguments,
        "start": list(effect.MOTIP_START),
        "command": "mot fit --config fdta_motip_synthetic ...",
        "cpu_minutes": 5.0,
    }
    scores = dict.fromkeys(variants.METRICS, 50.0)
    line["test"] = {"recall": 90.0, "similarity": 0.5, "similar_objects": 40.0, "trackers": {"MOTIP": scores}}
    text = effect.tables([{**line, "recipe": "old", "seed": 4}, {**line, "recipe": "new"}])["adapters"]
    assert "| none | 1 |" in text
    other = {**line, "recipe": "other", "seed": 4, "command": "mot fit --config motip_synthetic ..."}
    assert "| none | 1 |" in effect.tables([line, other])["adapters"]


@pytest.mark.parametrize("part", effect.PARTS.values(), ids=effect.PARTS)
def test_arguments_of_the_rows_are_known(part, capsys):
    # One value of each setting, since a command takes a second.
    values = dict(argument.split("=") for more in part.arguments.values() for argument in more)
    arguments = [f"{name}={value}" for name, value in values.items()]
    mot(["fit", "--config", f"fdta_{part.tracker}_synthetic", *arguments, "--print_config"])
    text = capsys.readouterr().out
    for name, value in values.items():
        assert f"{name.rsplit('.', 1)[1]}: {value}" in text
