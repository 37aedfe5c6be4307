"""What is not installed is told in a sentence; what is broken keeps its own error."""

import pytest

from mot_core.extras import needs


def test_a_missing_library_is_told_with_the_command_that_installs_it():
    with (
        pytest.raises(ImportError, match=r"^training needs absent: pip install './packages/mot-core\[train\]'$"),
        needs("absent", "train", "training"),
    ):
        import absent  # noqa: F401


def test_a_library_that_lacks_something_itself_keeps_its_error(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(ModuleNotFoundError, match=r"^No module named 'absent'$"),
        needs("broken_library", "train", "training"),
    ):
        import broken_library  # noqa: F401
