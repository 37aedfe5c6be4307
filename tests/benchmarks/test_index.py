"""The index of the benchmarks names every script, result and page."""

from benchmarks.__main__ import INDEX, main
from benchmarks.provenance import RESULTS_FOLDER, ROOT


def test_scripts_results_and_pages_exist():
    for one in INDEX:
        assert (ROOT / "benchmarks" / f"{one.script.replace('.', '/')}.py").is_file(), one
        assert (RESULTS_FOLDER / one.result).is_file() or one.script == "kernels.speed", one  # needs a GPU
        assert (ROOT / one.page).is_file(), one


def test_every_result_has_a_benchmark():
    found = {path.relative_to(RESULTS_FOLDER).as_posix() for path in RESULTS_FOLDER.rglob("*.json*")}
    assert found <= {one.result for one in INDEX}


def test_readme_has_the_index():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    for one in INDEX:
        assert f"| {one.question} | `python -m benchmarks.{one.script}` | `{one.result}` |" in text


def test_unknown_topic(capsys):
    assert main(["nothing"]) == 2
    topics = "association, association_quality, detectors, em_kalman, fdta, kernels, robustness, training, unitrack"
    assert f"expected a topic ({topics})" in capsys.readouterr().err


def test_list(capsys):
    assert main([]) == 0
    assert "unitrack.effect" in capsys.readouterr().out
