"""Check an installed package in an environment with nothing but its wheel and its dependencies.

    python -I tools/check_installed.py DISTRIBUTION [EXTRA]

`nox -s wheels` runs this for every package, without extras and with each of them. All modules must import, and all
doctests and README examples must pass, except where an error names the pip command of an extra that is not installed.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import sysconfig
import traceback
from importlib import metadata
from pathlib import Path
from types import ModuleType

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS  # as configured for pytest in pyproject.toml
SENTENCE = re.compile(r"^[^\n]*pip install '?\./packages/[\w-]+\[(?P<extras>[\w,-]+)\]'?[^\n]*$")

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ONLY_BY_EXTRAS = {"lightning"}
INSTALLERS = {"pip", "setuptools", "wheel"}


class Failed(Exception):
    """Raised if the package fails a check."""


def main() -> None:
    """Run all checks on the distribution and extra given on the command line."""
    distribution, extras = metadata.distribution(sys.argv[1]), set(sys.argv[2:])
    roots = [name for name, owners in metadata.packages_distributions().items() if distribution.name in owners]
    if not roots:
        raise Failed(f"{distribution.name} installs no importable package")
    files = {str(path) for path in distribution.files or []}
    for root in roots:
        if f"{root}/py.typed" not in files:
            raise Failed(
                f"{root}/py.typed: expected in the wheel, found none; type checkers ignore the annotations without it"
            )

    modules, waiting = import_all(roots, extras)
    check_environment(distribution.name, extras)
    check_origins(distribution.name, extras)
    blocks = run_readme(distribution.metadata["Description"] or "", extras)
    examples, skipped = run_doctests(modules, extras)
    for entry in distribution.entry_points:
        if entry.group == "console_scripts":
            run_help(entry.name)
            continue
        try:
            entry.load()
        except ImportError as error:
            excuse(error, extras)
    if "mot" in distribution.entry_points.names:
        track_and_score(extras)
    print(
        f"{'+'.join([distribution.name, *extras])}: {len(modules)} modules, {examples} doctests,",
        f"{blocks} examples of the README;",
        f"skipped without an extra: modules {waiting or 'none'}, doctests {skipped or 'none'}",
    )


def excuse(error: BaseException, installed: set[str]) -> None:
    """Accept an error that names a missing extra in one sentence; raise all others."""
    sentence = SENTENCE.match(str(error)) if isinstance(error, ImportError) else None
    if sentence is None:
        raise error
    if set(sentence["extras"].split(",")) <= installed:
        raise Failed(f"the extra is installed, yet: {error}") from error


def import_all(roots: list[str], extras: set[str]) -> tuple[list[ModuleType], list[str]]:
    """Import all modules below the roots; return them, and the names of modules that need another extra."""
    modules, waiting = [], []
    names = list(roots)
    while names:
        name = names.pop()
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            excuse(error, extras)
            waiting.append(name)
            continue
        modules.append(module)
        if hasattr(module, "__path__"):
            names += [f"{name}.{child.name}" for child in pkgutil.iter_modules(module.__path__)]
    return modules, waiting


def check_environment(package: str, extras: set[str]) -> None:
    """Check that the environment has the package and its dependencies only, and no heavy ones without extras."""
    allowed = declared_by(package, extras)
    heavy = ONLY_BY_EXTRAS & allowed
    if heavy and not extras:
        raise Failed(f"{package} depends on {', '.join(sorted(heavy))} without an extra")
    installed = {canonical(one.name) for one in metadata.distributions()}
    if undeclared := installed - allowed - INSTALLERS:
        raise Failed(f"the environment holds {', '.join(sorted(undeclared))}, which {package} does not declare")


def check_origins(package: str, extras: set[str]) -> None:
    """Check that all imported modules come from the package or its direct and indirect dependencies."""
    allowed = declared_by(package, extras)
    owners = metadata.packages_distributions()
    for name in list(sys.modules):
        origins = {canonical(owner) for owner in owners.get(name.partition(".")[0], [])}
        if origins and not origins & allowed:
            raise Failed(f"{package} imported {name} of {', '.join(origins)}, which it does not declare")


def declared_by(package: str, extras: set[str]) -> set[str]:
    """Return the names of the package and its direct and indirect dependencies."""
    declared, queue = set(), [(package, frozenset(extras))]
    while queue:
        name, wanted = queue.pop()
        if (name, wanted) in declared:
            continue
        declared.add((name, wanted))
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        for requirement in requirements:
            name_and_extras, _, marker = requirement.partition(";")
            extra = re.search(r"extra == ['\"]([\w-]+)", marker)
            if extra is None or extra[1] in wanted:
                parts = re.match(r"([\w.-]+)\s*(?:\[([\w,\s-]+)\])?", name_and_extras.strip())
                assert parts is not None
                queue.append((canonical(parts[1]), frozenset(re.findall(r"[\w-]+", parts[2] or ""))))
    return {canonical(name) for name, _ in declared}


def canonical(name: str) -> str:
    """Normalize the name of a distribution, as package indexes do.

    >>> canonical("Types_PyYAML")
    'types-pyyaml'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def run_readme(text: str, extras: set[str]) -> int:
    """Run the Python blocks of the README in the wheel in order, and return their number."""
    namespace: dict[str, object] = {"__name__": "__readme__"}
    blocks = BLOCK.findall(text)
    for code in blocks:
        try:
            exec(compile(code, "<README>", "exec"), namespace)
        except ImportError as error:
            excuse(error, extras)
    return len(blocks)


def run_doctests(modules: list[ModuleType], extras: set[str]) -> tuple[int, list[str]]:
    """Run the doctests; return how many passed, and the names of those that need another extra."""
    passed, skipped = 0, []
    site_packages = Path(sysconfig.get_path("purelib"))
    for module in modules:
        if module.__file__ is None or site_packages not in Path(module.__file__).parents:
            raise Failed(f"{module.__name__} comes from {module.__file__}, not from the wheel in {site_packages}")
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            if not test.examples:
                continue
            try:
                doctest.DebugRunner(optionflags=FLAGS).run(test)
                passed += 1
            except doctest.UnexpectedException as failure:
                if not imports_itself(failure):
                    excuse(failure.exc_info[1], extras)
                skipped.append(test.name)
            except doctest.DocTestFailure as failure:
                location = f"{test.filename}:{(test.lineno or 0) + failure.example.lineno + 1}"
                raise Failed(f"{location}: expected {failure.example.want!r}, got {failure.got!r}") from None
    return passed, skipped


def imports_itself(failure: doctest.UnexpectedException) -> bool:
    """Whether the doctest itself, rather than package code, imports a missing library."""
    _, error, trace = failure.exc_info
    innermost = traceback.extract_tb(trace)[-1].filename
    return isinstance(error, ModuleNotFoundError) and innermost.startswith("<doctest")


def run_help(script: str) -> None:
    """Check that a command starts and prints its help."""
    done = run_script(script, "--help")
    if done.returncode or "usage" not in done.stdout.lower():
        raise Failed(f"{script} --help: exit code {done.returncode}, {done.stdout}{done.stderr}")


def track_and_score(extras: set[str]) -> None:
    """Track, score and draw a synthetic scene with the `mot` command, unless an error names a missing extra."""
    from mot_core.io import make_scene

    make_scene(num_objects=5, num_frames=30).save(Path("scenes"), "crossing")
    track = ("track", "scenes", "--benchmark", "generic", "--tracker", "sort", "--output")
    done = run_script("mot", *track, "out")
    if done.returncode or not Path("out/crossing.txt").stat().st_size:
        raise Failed(f"mot track: exit code {done.returncode}, {done.stderr}")
    score = ("eval", "out", "--gt", "scenes", "--benchmark", "generic")
    for arguments in (score, (*track, "plot", "--plot"), (*track, "video", "--video")):
        done = run_script("mot", *arguments)
        if done.returncode:
            excuse(ImportError(done.stderr.strip()), extras | ({"eval"} if "train" in extras else set()))


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a console script of this environment."""
    path = Path(sysconfig.get_path("scripts")) / script
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120)


if __name__ == "__main__":
    main()
