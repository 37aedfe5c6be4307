"""Checks of installed packages: errors that they must detect."""

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


def test_missing_extras_are_accepted_if_named(tool):
    tool.excuse(ImportError(SENTENCE), installed={"plot"})
    with pytest.raises(tool.Failed, match="the extra is installed, yet"):
        tool.excuse(ImportError(SENTENCE), installed={"eval"})


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'trackeval'"), ImportError(f"two\n{SENTENCE}"), ValueError(SENTENCE)]
)
def test_other_errors_are_raised(tool, error):
    with pytest.raises(type(error)):
        tool.excuse(error, installed=set())


def test_doctests_pass_or_need_an_extra(tool):
    modules = [
        module_with(">>> 1 + 1\n2"),
        module_with(">>> need_extra()\n'never'", need_extra=need_extra),
        module_with(">>> import no_such_library"),
    ]
    assert tool.run_doctests(modules, set()) == (1, ["sample", "sample"])


def test_failing_doctest(tool):
    with pytest.raises(tool.Failed, match="expected '3\\\\n', got '2\\\\n'"):
        tool.run_doctests([module_with(">>> 1 + 1\n3")], set())


def test_undeclared_library_in_package_code(tool):
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        tool.run_doctests([module_with(">>> leak()", leak=leak)], set())


def test_module_outside_the_wheel(tool):
    module = module_with(">>> 1 + 1\n2")
    module.__file__ = __file__
    with pytest.raises(tool.Failed, match="not from the wheel"):
        tool.run_doctests([module], set())


def test_undeclared_import(tool):
    # einops has no dependencies, and pytest is imported here.
    assert "pytest" in sys.modules
    with pytest.raises(tool.Failed, match="which it does not declare"):
        tool.check_origins("einops", set())


def test_undeclared_distribution(tool):
    with pytest.raises(tool.Failed, match=r"the environment holds .*pytest.*, which einops does not declare"):
        tool.check_environment("einops", set())


def test_lightning_requires_an_extra(tool):
    assert "lightning" in tool.declared_by("unitrack-loss", {"train"})
    assert "lightning" not in tool.declared_by("unitrack-loss", set())
    with pytest.raises(tool.Failed, match="lightning depends on lightning without an extra"):
        tool.check_environment("lightning", set())


def test_readme_examples_share_a_namespace(tool):
    assert tool.run_readme("# Title\n\n```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n", set()) == 2
    with pytest.raises(AssertionError):
        tool.run_readme("```python\nassert False\n```\n", set())
    with pytest.raises(ImportError, match="no_such_library"):
        tool.run_readme("```python\nimport no_such_library\n```\n", set())
