"""Checkpoints that no command can use: one sentence each, from every command that reads them."""

from __future__ import annotations

import argparse

import pytest
import torch
import yaml

from mot_core.cli import main
from mot_core.data import SyntheticVideo

SETTINGS = {
    "model": {
        "class_path": "MOTR",
        "init_args": {
            "detector": {
                "backbone": "small",
                "num_queries": 5,
                "embed_dim": 32,
                "ffn_dim": 32,
                "num_levels": 3,
                "num_encoder_layers": 1,
                "num_decoder_layers": 2,
            }
        },
    },
    "data": {
        "class_path": "SyntheticDataModule",
        "init_args": {
            "num_videos": 2,
            "num_val_videos": 1,
            "num_frames": 2,
            "image_size": [32, 48],
            "clip_length": 2,
            "stride": 2,
        },
    },
    "trainer": {"accelerator": "cpu", "max_epochs": 1, "num_sanity_val_steps": 0, "enable_model_summary": False},
}
NAN = {"detector.query_embed.weight": torch.full((5, 64), torch.nan)}
QUERIES = {"num_queries": 0}
ONLY_MODEL = ("optimizer_states", "lr_schedulers", "loops")
# Name of the fault: change of a valid checkpoint, and the sentence of all commands or by command ("*" for the others).
FAULTS = {
    "empty": (None, "expected a checkpoint, got an empty file"),
    "truncated": (None, "expected a checkpoint, got an incomplete or damaged file"),
    "flipped bit": (None, "expected a checkpoint, got a damaged file (wrong checksum of data"),
    "foreign": (None, "expected a checkpoint written by PyTorch, got another kind of file"),
    "code": (lambda c: c.update(args=argparse.Namespace()), "got a pickled argparse.Namespace, which could run code"),
    "NaN": (lambda c: c["state_dict"].update(NAN), "detector.query_embed.weight: expected finite weights, got NaN"),
    "type of weights": (lambda c: c.update(state_dict=3), "state_dict: expected a mapping, got int"),
    "type of epoch": (lambda c: c.update(epoch="1"), "epoch: expected an integer, got str"),
    "no weights": (lambda c: c.pop("state_dict"), {"track": "does not fit its own tracker", "*": "without state_dict"}),
    "no tracker": (lambda c: c.pop("tracker"), {"track": "expected a checkpoint of a mot-core tracker"}),
    "no queries": (
        lambda c: c["tracker"]["arguments"]["detector"].update(QUERIES),
        {"track": "num_queries: expected"},
    ),
    "type of argument": (
        lambda c: c["tracker"]["arguments"].update(miss_tolerance="five"),
        {"track": "miss_tolerance: expected int, got 'five'"},
    ),
    "type of arguments": (
        lambda c: c["tracker"].update(arguments=[1]),
        {"track": "arguments: expected a mapping"},
    ),
    "imported": (lambda c: [c.pop(name) for name in ONLY_MODEL], {"fit": "got one without optimizer_states and lr_s"}),
    "type of loops": (lambda c: c["loops"].update(fit_loop=3), {"fit": "got one that cannot be restored (Attribut"}),
    "type of optimizer": (lambda c: c.update(optimizer_states=[3]), {"fit": "one that cannot be restored (Attribut"}),
    "no version": (
        lambda c: c.pop("pytorch-lightning_version"),
        {"track": "", "*": "without pytorch-lightning"},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a config, a checkpoint and a sequence."""
    folder = tmp_path_factory.mktemp("valid")
    (folder / "small.yaml").write_text(yaml.safe_dump(SETTINGS))
    assert main(["fit", "--config", str(folder / "small.yaml"), "--output", str(folder / "run")]) == 0
    (folder / "run/version_0/checkpoints/last.ckpt").rename(folder / "valid.ckpt")
    SyntheticVideo(num_videos=1, num_frames=2, image_size=(32, 48)).save(folder / "videos", 0)
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # set by Lightning
        monkeypatch.setenv(name, "0")


def broken(folder, fault):
    """Write a checkpoint with a fault and return its path."""
    path, valid = folder / "x.ckpt", folder / "valid.ckpt"
    data = bytearray(valid.read_bytes())
    if change := FAULTS[fault][0]:
        content = torch.load(valid, weights_only=True)
        change(content)
        torch.save(content, path)
        return path
    if fault == "flipped bit":
        weights = torch.load(valid, weights_only=True)["state_dict"]["detector.query_embed.weight"]
        data[data.index(weights.numpy().tobytes()) + 9] ^= 4
    path.write_bytes({"empty": b"", "truncated": data[:-2000], "foreign": b"text", "flipped bit": data}[fault])
    return path


def cases():
    for fault, (_, sentences) in FAULTS.items():
        for command in ("fit", "validate", "track"):
            one = sentences if isinstance(sentences, str) else sentences.get(command, sentences.get("*", ""))
            if one:
                yield pytest.param(fault, command, one, id=f"{fault}-{command}")


@pytest.mark.parametrize(("fault", "command", "sentence"), list(cases()))
def test_every_fault_is_one_sentence(mot, folder, tmp_path, fault, command, sentence):
    path = broken(folder, fault)
    if command == "track":
        done = mot("track", folder / "videos", "--tracker", "motr", "--checkpoint", path, "--output", tmp_path / "out")
    else:
        done = mot(command, "--config", folder / "small.yaml", "--ckpt_path", path, "--output", tmp_path / "out")
    assert done.code == 1, done.err
    assert sentence in done.err
    assert done.err.splitlines()[-1].startswith("mot: error: ")
    assert len([line for line in done.err.splitlines() if not line.startswith("mot: training in ")]) == 1
    assert "weights_only" not in done.err


@pytest.mark.parametrize("command", ["test", "predict"])
def test_other_commands_use_the_same_reader(mot, folder, tmp_path, command):
    for model in (("--data", "SyntheticDataModule"), ("--config", folder / "small.yaml")):
        done = mot(command, *model, "--ckpt_path", broken(folder, "NaN"), "--output", tmp_path / "out")
        assert done.code == 1
        assert "x.ckpt: state_dict.detector.query_embed.weight: expected finite weights, got NaN" in done.err


@pytest.mark.parametrize("fault", ["empty", "truncated", "flipped bit", "foreign", "code", "NaN"])
def test_init_and_import(mot, folder, tmp_path, fault):
    path = broken(folder, fault)
    for arguments in (
        ("fit", "--config", folder / "small.yaml", "--init", path, "--output", tmp_path / "out"),
        ("import", path, tmp_path / "out.ckpt", "--config", folder / "small.yaml"),
    ):
        done = mot(*arguments)
        assert done.code == 1
        assert f"mot: error: {path}: " in done.err
        assert FAULTS[fault][1] in done.err
        assert done.err.count("\n") == 1
    assert not (tmp_path / "out.ckpt").exists()
