"""Packages created from the template build, and pass their tests from the wheel."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("new_package", ROOT / "tools" / "new_package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_new_package_builds_and_passes_its_tests(tool, tmp_path):
    package = tool.new_package("fine-method", "It is fine", root=tmp_path)
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if "example_method" in text or "example-method" in text]
    # The build backend without pip needs no isolated environment and no network.
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=package, check=True)
    (wheel,) = package.glob("dist/fine_method-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert (tmp_path / "site" / "fine_method" / "py.typed").is_file()
    options = ["-q", "--doctest-modules", "--import-mode=importlib", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path / "tests", tmp_path / "site"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 passed" in done.stdout


@pytest.mark.parametrize("name", ["EmKalman", "em_kalman", "-em", "em kalman", "../em", ""])
def test_invalid_names_are_rejected(tool, name, tmp_path):
    with pytest.raises(ValueError, match="name: expected lower-case words joined by hyphens"):
        tool.new_package(name, "summary", root=tmp_path)


def test_existing_folders_are_not_overwritten(tool, tmp_path):
    (tmp_path / "tests" / "taken").mkdir(parents=True)
    with pytest.raises(ValueError, match="already exists"):
        tool.new_package("taken", "summary", root=tmp_path)
    assert not (tmp_path / "packages").exists()


def test_invalid_summaries_are_rejected(tool, tmp_path):
    with pytest.raises(ValueError, match="summary: expected one line without double quotes"):
        tool.new_package("fine", 'so "fine"', root=tmp_path)
