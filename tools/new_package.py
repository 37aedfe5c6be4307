"""Create a package from packages/_template.

    python tools/new_package.py em-kalman "Label-free association learning by EM"

creates packages/em-kalman and tests/em_kalman, a package that builds, installs and passes its tests, to start from.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "packages" / "_template"
SUMMARY = "One-line description of the method"


def new_package(name: str, summary: str, root: Path = ROOT) -> Path:
    """Copy the template under a new name.

    Args:
        name: Distribution name in lower-case words joined by hyphens, such as ``em-kalman``.
        summary: One-line description of the method.
        root: Root folder of the repository.

    Returns:
        Folder of the new package.

    Raises:
        ValueError: If the name or summary is invalid, or a folder already exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ValueError(f"name: expected lower-case words joined by hyphens, such as em-kalman, got {name!r}")
    if '"' in summary or "\n" in summary:
        raise ValueError(f"summary: expected one line without double quotes, got {summary!r}")
    module = name.replace("-", "_")
    package, tests = root / "packages" / name, root / "tests" / module
    for folder in (package, tests):
        if folder.exists():
            raise ValueError(f"{folder} already exists; choose another name or remove it")
    skip = shutil.ignore_patterns("__pycache__", "tests", "dist")
    shutil.copytree(TEMPLATE, package, ignore=skip)
    shutil.copytree(TEMPLATE / "tests", tests, ignore=skip)
    (package / "src" / "example_method").rename(package / "src" / module)
    for path in [*package.rglob("*"), *tests.rglob("*")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            text = text.replace("example-method", name).replace("example_method", module).replace(SUMMARY, summary)
            path.write_text(text, encoding="utf-8")
    return package


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="distribution name, such as em-kalman")
    parser.add_argument("summary", help="one-line description of the method")
    arguments = parser.parse_args()
    try:
        package = new_package(arguments.name, arguments.summary)
    except ValueError as error:
        parser.error(str(error))
    print(f"{package.relative_to(ROOT)} created; `nox -s tests` includes its tests.")


if __name__ == "__main__":
    main()
