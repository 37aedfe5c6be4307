"""`mot configs`: the list of shipped configs, and one of them as text."""

import pytest
import yaml

from mot_core.cli.configs import description
from mot_core.cli.fit.configs import find_config, shipped_configs


def test_all_configs_and_sweeps_are_listed_with_their_first_sentence(mot):
    done = mot("configs")
    assert (done.code, done.err) == (0, "")
    rows = {line.split("│")[1].strip(): line for line in done.out.splitlines() if line.startswith("│")}
    assert rows.keys() == {*shipped_configs(), *shipped_configs("sweeps")}
    assert "MOTR on MOT17, with the settings of the paper." in rows["motr_mot17"]


@pytest.mark.parametrize("kind", ["configs", "sweeps"])
def test_every_shipped_file_says_what_it_is(kind):
    for name, path in shipped_configs(kind).items():
        text = description(path)
        assert text.endswith("."), name
        assert 20 < len(text) < 200, name


def test_description_ends_with_the_comment(tmp_path):
    (tmp_path / "a.yaml").write_text("# One line of\n# two. More.\nmodel: 1\n# later\n")
    (tmp_path / "b.yaml").write_text("# Starts from COCO:\n#\n#   mot fit\nmodel: 1\n")
    (tmp_path / "c.yaml").write_text("model: 1\n")
    assert [description(tmp_path / f"{name}.yaml") for name in "abc"] == ["One line of two.", "Starts from COCO.", ""]


@pytest.mark.parametrize("name", ["motr_synthetic", "motr_synthetic.yaml", "fdta_weights"])
def test_show_prints_the_file(mot, name):
    kind = "sweeps" if name == "fdta_weights" else "configs"
    done = mot("configs", "show", name)
    assert (done.code, done.out, done.err) == (0, find_config(name, kind).read_text(), "")
    assert yaml.safe_load(done.out)


def test_show_proposes_the_nearest_name(mot):
    assert mot("configs", "show", "motr_sintetic") == (
        1,
        "",
        "mot: error: config motr_sintetic: expected a YAML file or the name of a shipped one; "
        "did you mean motr_synthetic?\n",
    )
