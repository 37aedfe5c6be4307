"""Shipped configs: lookup by name, completeness and the values of the papers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from mot_core.association.registry import trainable_trackers
from mot_core.cli.fit.configs import PACKAGE, find_config, find_configs, shipped_configs

FOLDER = PACKAGE / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def test_expected_configs_ship():
    trackers = [one for one in trainable_trackers().values() if one.__module__.startswith("mot_core.")]
    assert {config for tracker in trackers for config in tracker.configs} == set(NAMES)


def test_files_take_precedence_over_shipped_configs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("motip_synthetic") == find_config("motip_synthetic.yaml") == FOLDER / "motip_synthetic.yaml"
    Path("motip_synthetic").write_text("trainer: {max_epochs: 1}\n")
    assert find_config("motip_synthetic") == Path("motip_synthetic")


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1\n", "my.yaml:2: expected YAML"), ("text\n", "expected a mapping"), ("", "expected a mapping")],
)
def test_invalid_config_files(tmp_path, text, words):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        find_config(str(path))


def test_yaml_files_in_other_arguments_are_checked(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text("class_path: a\nclass_path: b\n")
    for arguments in (["--model", str(path)], [f"--model={path}"]):
        with pytest.raises(ValueError, match=r"model\.yaml:2: expected each key once"):
            find_configs(arguments)


def test_misspelled_config_names_get_a_suggestion():
    with pytest.raises(FileNotFoundError, match="did you mean motip_dancetrack"):
        find_config("motip_dancetrak")


@pytest.mark.parametrize("name", NAMES)
def test_configs_state_their_command(name):
    text = shipped_configs()[name].read_text()
    assert text.startswith("# ")
    assert f"mot fit --config {name}" in text


@pytest.mark.parametrize("name", NAMES)
def test_configs_build_the_named_classes(name, build_config):
    with torch.device("meta"):
        model, data, trainer = build_config(name)
    content = yaml.safe_load(shipped_configs()[name].read_text())
    assert type(model).__name__ == content["model"]["class_path"]
    assert type(data).__name__ == content["data"]["class_path"]
    assert trainer.gradient_clip_val == 0.1


@pytest.mark.parametrize("name", [f"{name}_synthetic" for name in trainable_trackers()])
def test_synthetic_configs_train(mot, name, tmp_path):
    few = ("--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--trainer.enable_model_summary", "false")
    done = mot("fit", "--config", name, "--output", tmp_path, "--data.clip_length", "2", *few)
    assert done.code == 0, done.err
    assert (tmp_path / "version_0" / "checkpoints" / "last.ckpt").is_file()


def test_learning_rates_of_the_paper(build_config):
    with torch.device("meta"):
        model, data, _ = build_config("motip_dancetrack")
    rates = {group["name"]: group["lr"] for group in model.parameter_groups()}
    assert rates == {"backbone": pytest.approx(1e-5), "points": pytest.approx(5e-6), "tracker": 1e-4}
    assert model.optimizer.milestones == (6, 9)
    assert (data.sampling.length(0), data.augmentation.short_sides[-1]) == (30, 800)


def test_configs_of_plugins_are_found_without_import(tmp_path, monkeypatch):
    folder = tmp_path / "my_method" / "configs"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise AssertionError('imported')")
    (folder / "my_config.yaml").write_text("trainer: {max_epochs: 1}\n")
    (tmp_path / "single.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MOT_CORE_PLUGINS", "my_method.plugin:Mine,single:Other,not_installed:Third,some/file.py:Fourth")
    assert find_config("my_config") == folder / "my_config.yaml"
