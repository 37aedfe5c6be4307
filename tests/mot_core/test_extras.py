"""Missing libraries are reported with an install command; broken libraries keep their own error."""

import pytest

from mot_core.extras import needs


def test_missing_library_names_install_command():
    with (
        pytest.raises(ImportError, match=r"^training needs absent: pip install './packages/mot-core\[train\]'$"),
        needs("absent", "train", "training"),
    ):
        import absent  # noqa: F401


def test_import_error_inside_library_is_kept(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(ModuleNotFoundError, match=r"^No module named 'absent'$"),
        needs("broken_library", "train", "training"),
    ):
        import broken_library  # noqa: F401
