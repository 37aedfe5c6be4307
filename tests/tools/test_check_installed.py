"""The judge of installed packages must be able to say no."""

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SENTENCE = "scores need trackeval; install it with: pip install './packages/mot-core[eval]'"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_installed", ROOT / "tools" / "check_installed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_with(docstring, **names):
    module = ModuleType("sample", docstring)
    module.__file__ = str(Path(sysconfig.get_path("purelib")) / "sample.py")
    vars(module).update(names)
    return module


def need_extra():
    raise ImportError(SENTENCE)


def leak():
    import no_such_library  # noqa: F401


def test_a_missing_extra_is_excused_once_it_is_named(tool):
    tool.excuse(ImportError(SENTENCE), installed={"plot"})
    with pytest.raises(tool.Failed, match="the extra is installed, yet"):
        tool.excuse(ImportError(SENTENCE), installed={"eval"})


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'trackeval'"), ImportError(f"two\n{SENTENCE}"), ValueError(SENTENCE)]
)
def test_other_errors_are_not_excused(tool, error):
    with pytest.raises(type(error)):
        tool.excuse(error, installed=set())


def test_doctests_hold_or_ask_for_an_extra(tool):
    modules = [
        module_with(">>> 1 + 1\n2"),
        module_with(">>> need_extra()\n'never'", need_extra=need_extra),
        module_with(">>> import no_such_library"),
    ]
    assert tool.run_doctests(modules, set()) == (1, ["sample", "sample"])


def test_a_wrong_doctest_fails(tool):
    with pytest.raises(tool.Failed, match="expected '3\\\\n', got '2\\\\n'"):
        tool.run_doctests([module_with(">>> 1 + 1\n3")], set())


def test_a_library_that_our_code_imports_unasked_fails(tool):
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        tool.run_doctests([module_with(">>> leak()", leak=leak)], set())


def test_a_module_from_elsewhere_fails(tool):
    module = module_with(">>> 1 + 1\n2")
    module.__file__ = __file__
    with pytest.raises(tool.Failed, match="not from the wheel"):
        tool.run_doctests([module], set())


def test_an_undeclared_import_fails(tool):
    # einops declares nothing, and pytest is imported here.
    assert "pytest" in sys.modules
    with pytest.raises(tool.Failed, match="which it does not declare"):
        tool.check_origins("einops", set())


def test_what_nobody_declared_is_a_stranger(tool):
    with pytest.raises(tool.Failed, match=r"the environment holds .*pytest.*, which einops does not declare"):
        tool.check_environment("einops", set())


def test_lightning_comes_by_an_extra_alone(tool):
    assert "lightning" in tool.declared_by("unitrack-loss", {"train"})
    assert "lightning" not in tool.declared_by("unitrack-loss", set())
    with pytest.raises(tool.Failed, match="lightning pulls in lightning without being asked for an extra"):
        tool.check_environment("lightning", set())


def test_the_examples_of_the_readme_run_in_one_namespace(tool):
    assert tool.run_readme("# Title\n\n```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n", set()) == 2
    with pytest.raises(AssertionError):
        tool.run_readme("```python\nassert False\n```\n", set())
    with pytest.raises(ImportError, match="no_such_library"):
        tool.run_readme("```python\nimport no_such_library\n```\n", set())
