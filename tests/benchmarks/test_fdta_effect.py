import json

import pytest
import torch

from benchmarks.fdta import effect, placement
from benchmarks.training import variants
from mot_core.cli import main as mot
from mot_core.nn.detr.decoder import DeformableDecoder, DeformableDecoderLayer


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
    assert "| IA | 1 | 69.0 |" in effect.tables(lines)["choices"]


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


@pytest.mark.parametrize("place", placement.PLACES.values())
def test_depth_attention_at_another_place(place):
    """The hook receives the queries before the layer, or those after the self-attention, instead of the later ones."""
    torch.manual_seed(0)
    decoder = DeformableDecoder(num_layers=2, embed_dim=8, num_heads=2, ffn_dim=16, num_levels=1).eval()
    queries, memory = torch.randn(1, 5, 8), torch.randn(1, 6, 8)
    seen = []

    def decode(hook):
        references = torch.full((1, 5, 2), 0.5)
        return decoder(queries, 0 * queries, references, memory, [(2, 3)], torch.ones(1, 1, 2), hook=hook).hidden

    def add(layer, hidden):
        seen.append((layer, hidden))
        return hidden + 1

    with placement.depth_attention(place):
        found = decode(add)
        assert torch.equal(decode(None)[-1], decode(lambda layer, hidden: hidden)[-1])
    assert [layer for layer, _ in seen] == [0, 1]
    first = decoder.layers[0]
    if place == "before self-attention":
        assert torch.equal(seen[0][1], queries)
    else:
        attended = first.self_attn(queries, queries, queries)[0]
        torch.testing.assert_close(seen[0][1], first.self_attn_norm(queries + attended))
    assert not torch.allclose(found[-1], decode(add)[-1]), "the place matters"
    handles = first.self_attn_norm._forward_hooks
    assert not handles, "nothing is left behind"


def test_rows_of_the_placement_are_measured_at_their_place(monkeypatch, tmp_path):
    ran = {}

    def run(tracker, seed, folder, videos, more, test_seeds, config):
        ran[folder.name.split("-")[1]] = DeformableDecoderLayer.forward.__name__
        scores = dict.fromkeys(variants.METRICS, 50.0)
        test = {"recall": 90.0, "similarity": 0.5, "similar_objects": 40.0, "trackers": {"MOTIP": scores}}
        return {"tracker": "MOTIP", "seed": seed, "command": f"mot fit --config {config} ...", "test": test}

    monkeypatch.setattr(variants, "run", run)
    monkeypatch.setattr(variants, "train", lambda *arguments: ([], tmp_path / "start.ckpt"))
    effect.main(["--part=placement", "--processes=1", f"--results={tmp_path / 'lines.jsonl'}", f"--output={tmp_path}"])
    assert ran == {
        "none": "forward",
        "SA": "forward",
        "SA_before_self": "moved",
        "SA_between_the_attentions": "moved",
    }
