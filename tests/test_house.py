"""Repository rules that can be checked automatically: imports, names, file sizes, versions and paths."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
SOURCES = [path for package in PACKAGES for path in sorted((package / "src").rglob("*.py"))]

# Layers of mot_core from top to bottom: a module imports from its own layer and from those below.
LAYERS = [
    {"cli"},
    {"callbacks", "data"},
    {"trackers"},
    {"evaluation", "visualization", "bench"},
    {"streams"},
    {"association"},
    {"detectors"},
    {"io"},
    {"checkpoints"},
    {"nn"},
    {"plugins", "tap"},
    {"slots"},
    {"structures", "boxes"},
    {"ops", "extras", "processes", "suggestions"},
]
# Libraries restricted to some modules, given as patterns of module names.
ONLY_IN = {
    "torchvision": r"(?!)",  # a CUDA build together with a CPU build of torch breaks every module that imports it
    "timm": r"mot_core\.nn\..*",
    "lightning": r"mot_core\.(cli|callbacks|data|trackers)(\..*)?|\w+\.lightning(\..*)?",
    "pytorch_lightning": r"(?!)",  # the old name
    "trackeval": r"mot_core\.evaluation\..*",
    "triton": r"\w+\.(ops|bench)\..*",
}
# Modules that must import quickly, for `mot --help` and tracking.
QUICK = ["mot_core", "mot_core.structures", "mot_core.boxes", "mot_core.io", "mot_core.association", "mot_core.cli"]
SLOW = {"torch", "lightning", "matplotlib", "av", "torchmetrics", "trackeval", "cv2"}


def module_name(path):
    parts = path.relative_to(next(p for p in path.parents if p.name == "src")).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}
ROOTS = {module.split(".")[0] for module in MODULES}


def imports_in(tree, module, is_package=False):
    """Yield the absolute names of all imports of a module, anywhere in its code."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(module, for_types=True):
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
    yield from imports_in(tree, module, path.name == "__init__.py")


def test_all_forms_of_import_are_found():
    code = """
import a.b, c
from .d import e
def f():
    from ..g import h
    from . import i
    from mot_core import boxes
"""
    found = sorted(imports_in(ast.parse(code), "top.middle.module"))
    assert found == ["a.b", "c", "mot_core.boxes", "top.g.h", "top.middle.d.e", "top.middle.i"]
    assert list(imports_in(ast.parse("from .x import y"), "top.middle", is_package=True)) == ["top.middle.x.y"]


def layer(module):
    part = module.split(".")[1]
    found = [index for index, names in enumerate(LAYERS) if part in names]
    assert found, f"mot_core.{part} has no layer: add it to LAYERS in tests/test_house.py and to docs/development.md"
    return found[0]


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("mot_core.")])
def test_imports_run_downward(module):
    names = [name for name in imports_of(module) if name.startswith("mot_core.") and name != "mot_core.__version__"]
    above = [name for name in names if layer(name) < layer(module)]
    assert not above, f"{module} imports from higher layers: {above}"


@pytest.mark.parametrize("module", MODULES)
def test_method_packages_depend_on_mot_core_only(module):
    own = module.split(".")[0]
    others = [name for name in imports_of(module) if name.split(".")[0] in ROOTS - {own, "mot_core"}]
    assert not others, (
        f"{module} imports {others}, but method packages depend on mot_core only, and mot_core on none of them"
    )
    private = [name for name in imports_of(module) if own != "mot_core" and re.match(r"mot_core\..*\b_", name)]
    assert not private, f"{module} imports private modules of mot_core: {private}"


@pytest.mark.parametrize("module", MODULES)
def test_restricted_libraries(module):
    for name in imports_of(module):
        allowed = ONLY_IN.get(name.split(".")[0], ".*")
        assert re.fullmatch(allowed, module), f"{module} imports {name}, allowed only in {allowed}"


@pytest.mark.parametrize("package", [path.name for path in PACKAGES if not path.name.startswith("_")])
def test_every_import_is_declared(package):
    declared = {canonical(re.match(r"[\w.-]+", line)[0]) for line in metadata.requires(package)} | {package}
    owners = metadata.packages_distributions()
    for module in [name for name, path in MODULES.items() if ROOT / "packages" / package in path.parents]:
        for root in {name.split(".")[0] for name in imports_of(module, for_types=False)} - sys.stdlib_module_names:
            # Distributions that are not installed (triton) are identified by the module name.
            names = {canonical(owner) for owner in owners.get(root, [root])}
            assert names & declared, f"{module} imports {root} of {names}: declare it in packages/{package}"


def canonical(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


@pytest.mark.parametrize("module", QUICK)
def test_imports_quickly(module):
    code = f"import sys, {module}; print(*sorted({SLOW} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], f"importing {module} must not import slow libraries"


def edges(module):
    """Yield the modules imported by a module, including type imports; names of a package resolve to their module."""
    for name in imports_of(module):
        parent = name.rpartition(".")[0]
        target = name if name in MODULES else parent
        if target in MODULES and target != module:
            yield target


def test_no_circular_imports():
    """Imports for type checking count too."""
    graph = {module: sorted(set(edges(module))) for module in MODULES}
    done, path = set(), []

    def visit(module):
        if module in path:
            pytest.fail(f"circular import: {' -> '.join([*path[path.index(module) :], module])}")
        if module not in done:
            path.append(module)
            for target in graph[module]:
                visit(target)
            path.pop()
            done.add(module)

    for module in graph:
        visit(module)


# Functions that all modules of a kind define.
INTERFACES = {
    r"mot_core\.cli\..*|em_kalman\.motion\.command|lamotr\.cli\.command": {"configure", "run"},
    r"mot_core\.bench\..*": {"run"},
    r"mot_core\.ops\..*": {"forward", "backward", "reference", "fits"},
}


def test_public_names_are_defined_once():
    """Names of classes and public functions are unique over all packages."""
    modules_by_name = {}
    for module, path in MODULES.items():
        own = {name for pattern, names in INTERFACES.items() if re.fullmatch(pattern, module) for name in names}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if (public or isinstance(node, ast.ClassDef)) and node.name not in own:
                modules_by_name.setdefault(node.name, []).append(module)
    twice = {name: modules for name, modules in modules_by_name.items() if len(modules) > 1}
    assert not twice, f"rename all but one: {twice}"


def test_folders_are_small():
    sizes = {}
    for path in SOURCES:
        if path.name != "__init__.py":
            sizes[path.parent] = sizes.get(path.parent, 0) + 1
    crowded = {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 17}
    assert not crowded, f"split these folders by topic: {crowded}"


def test_no_symlinks():
    """Symbolic links break in zip files and on Windows."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    links = [line.split("\t")[1] for line in listed.stdout.splitlines() if line.startswith("120000")]
    assert not links


def own_files(pattern):
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    return [path for path in (ROOT / name for name in listed.stdout.splitlines()) if path.is_file()]


def test_files_are_short():
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in own_files("*.py")}
    long = {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length >= 400}
    assert not long, f"split these files to fewer than 400 lines: {long}"


def test_no_absolute_home_paths():
    # Brackets keep this line from matching itself.
    homes = re.compile(r"/([h]ome|[U]sers)/[a-z]|/([r]oot|[w]ork|[o]pt)/|[A-Z]:[\\]Users")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in own_files("*")
        if path.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".json", ".cfg", ".ini", ""}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if homes.search(line)
    ]
    assert not found


def test_packages_share_one_version():
    versions = {
        path: re.search(r'^version = "(.+)"$', (path / "pyproject.toml").read_text(), re.MULTILINE)[1]
        for path in PACKAGES
    }
    assert len(set(versions.values())) == 1, versions
    for path, version in versions.items():
        (init,) = path.glob("src/*/__init__.py")
        assert f'__version__ = "{version}"' in init.read_text(), f"{init} must have the same version"
        assert (init.parent / "py.typed").is_file()


def test_pre_commit_versions_match_the_constraints():
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    pins = re.findall(r"[\w-]+==[\w.]+", (ROOT / ".pre-commit-config.yaml").read_text())
    assert pins
    assert set(pins) <= set(constraints)
