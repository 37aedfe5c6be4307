"""The how-tos of docs/development.md, followed literally: files are written and commands run as the page says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "development.md"
STEP = re.compile(
    r'^```(?:\w+ title="(?P<title>[^"]+)"|(?P<console>console))\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE
)


def steps(*sections):
    """The titled files and the console blocks of some sections, in order."""
    text = PAGE.read_text(encoding="utf-8")
    for section in sections:
        (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        for match in STEP.finditer(body):
            yield match["title"], match["text"]


class Reader:
    """Someone who follows the page in an empty folder that holds the template and the tools."""

    def __init__(self, folder):
        self.folder, self.site = folder, folder / "site-packages"
        shutil.copytree(ROOT / "packages" / "_template", folder / "packages" / "_template")
        (folder / "tools").mkdir()
        shutil.copy(ROOT / "tools" / "new_package.py", folder / "tools")
        paths = [str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def follow(self, *sections):
        """Do all steps; return what each command printed."""
        printed = {}
        for title, text in steps(*sections):
            if title is None:
                for line in text.splitlines():
                    printed[line.removeprefix("$ ")] = self.run(line.removeprefix("$ "))
                continue
            path = self.folder / title.removesuffix(" (append)")
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text() if title.endswith(" (append)") else ""
            path.write_text(f"{before}\n{text}" if before else text)
        return printed

    def run(self, command):
        program, *arguments = shlex.split(command)
        if program == "pip":
            return self.install(arguments[-1])
        starts = {
            "mot": [sys.executable, "-c", "import sys; from mot_core.cli import main; sys.exit(main(sys.argv[1:]))"],
            "pytest": [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"],
            "python": [sys.executable],
        }
        done = subprocess.run(
            [*starts[program], *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, package):
        """Install without an index and without pip: build the wheel with its backend, and unpack it."""
        folder = self.folder / package
        shutil.rmtree(folder / "dist", ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder, check=True, capture_output=True
        )
        (wheel,) = folder.glob("dist/*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        return ""


@pytest.mark.slow
def test_add_a_tracker(tmp_path):
    printed = Reader(tmp_path).follow("Add a tracker")
    (shown,) = [text for command, text in printed.items() if command.startswith("mot track")]
    assert "--threshold" in shown
    (tested,) = [text for command, text in printed.items() if command.startswith("mot test")]
    assert "HOTA" in tested
    assert (tmp_path / "out" / "synthetic-test-0-0.txt").is_file()


@pytest.mark.slow
def test_add_a_method_package_and_a_command(tmp_path):
    reader = Reader(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "synthetic-test-0-0.txt").write_text(
        "1,1,10,10,20,40,0.9,-1,-1,-1\n2,1,11,10,20,40,0.9,-1,-1,-1\n"
    )
    printed = reader.follow("Add a method package", "Add a command")
    assert "smooth_tracks" in printed["mot plugins"]
    assert "passed" in printed["pytest tests/smooth_tracks"]
    assert "Penalize the acceleration of tracks" in printed["mot --help"]
    assert printed["mot smooth-tracks out/synthetic-test-0-0.txt"] == "2 rows, 1 identities\n"
