"""All commands of this repository, each as ``nox -s NAME`` on a machine with Python >= 3.10 and nox.

`lint`, `types`, `tests`, `demo` and `bench` share one environment, built by `dev`, so that only the first one installs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"  # the first with `requires`
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]
# Containers often set it. Without bytecode, importing Lightning takes three times as long, in every process of a test.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent
WHEELS = ROOT / "dist"
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")["dependency-groups"]
PROJECTS = {
    path.parent.name: nox.project.load_toml(path)["project"]
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
    if not path.parent.name.startswith("_")
}
# timm, triton (700 MB), transformers (depth), onnx and wandb have their own sessions.
HEAVY_EXTRAS = {"all", "depth", "onnx", "timm", "transformers", "triton", "wandb"}
EXTRAS = {
    name: [extra for extra in project.get("optional-dependencies", {}) if extra not in HEAVY_EXTRAS]
    for name, project in PROJECTS.items()
}
# PyTorch threads slow `pytest -n 2` down, and no test may need the network or a screen.
QUIET = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}


@nox.session(reuse_venv=True)
def dev(session: nox.Session) -> None:
    """Build the environment that lint, types, tests, demo and bench share."""
    editable = [f"packages/{name}[{','.join(extras)}]" for name, extras in EXTRAS.items()]
    _install(session, *(part for package in editable for part in ("-e", package)), *GROUPS["dev"])


@nox.session(python=False, requires=["dev"])
def lint(session: nox.Session) -> None:
    """Check style and formatting; `nox -s lint -- --fix` fixes what it can."""
    fix = "--fix" in session.posargs
    _run_in_dev(session, "ruff", "check", *(["--fix"] if fix else []))
    _run_in_dev(session, "ruff", "format", *([] if fix else ["--check"]))


@nox.session(python=False, requires=["dev"])
def types(session: nox.Session) -> None:
    """Check types with mypy in strict mode."""
    _run_in_dev(session, "mypy", *session.posargs)


@nox.session(python=False, requires=["dev"])
def tests(session: nox.Session) -> None:
    """Run the tests and doctests, without the slow ones; arguments go to pytest: `nox -s tests -- -k iou`."""
    _run_in_dev(session, "pytest", "-n", "2", "-m", "not slow", *session.posargs)


@nox.session(python=False, requires=["dev"], default=False)
def tests_slow(session: nox.Session) -> None:
    """Run the slow tests: trainings, two processes and demos; about three minutes on two cores."""
    _run_in_dev(session, "pytest", "-n", "2", "-m", "slow", *session.posargs)


@nox.session(python=False, requires=["dev"])
def demo(session: nox.Session) -> None:
    """Track synthetic crowds at 3 frames per second with every tracker: a table, pictures and videos."""
    _run_in_dev(session, "python", "examples/demo.py", *session.posargs)


@nox.session(python=False, requires=["dev"], default=False)
def demo_train(session: nox.Session) -> None:
    """Train the small MOTIP on synthetic video and compare it with ByteTrack: about seven minutes on one core."""
    _run_in_dev(session, "python", "examples/demo_train.py", *session.posargs)


@nox.session(python=False, requires=["dev"], default=False)
def bench(session: nox.Session) -> None:
    """List the benchmarks, or run those of a topic: `nox -s bench -- association --quick`."""
    _run_in_dev(session, "python", "-m", "benchmarks", *session.posargs)


@nox.session(python=False, requires=["dev"], default=False)
def api(session: nox.Session) -> None:
    """Regenerate tests/api_surface.json after an intended change of the public interface."""
    _run_in_dev(session, "python", "tests/test_api_surface.py")


@nox.session(reuse_venv=True)
def build(session: nox.Session) -> None:
    """Build every package into dist/: the source distribution, and the wheel from it."""
    _install(session, *GROUPS["build"])
    shutil.rmtree(WHEELS, ignore_errors=True)
    for name in PROJECTS:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(WHEELS), f"packages/{name}")


@nox.session(reuse_venv=False, requires=["build"])
@nox.parametrize(
    "package,extra",
    [
        nox.param(name, extra, id=f"{name}[{extra}]" if extra else name)
        for name, extras in EXTRAS.items()
        for extra in ("", *extras)
    ],
)
def wheels(session: nox.Session, package: str, extra: str) -> None:
    """Test every package installed on its own, without and with each of its extras."""
    _install(session, _wheel(package, extra), *map(_wheel, _siblings(package, extra)))
    # Outside the checkout, so that nothing of it can be imported by accident.
    session.chdir(session.create_tmp())
    session.run("python", "-I", str(ROOT / "tools/check_installed.py"), package, *filter(None, [extra]), env=QUIET)


@nox.session(reuse_venv=True)
def tests_timm(session: nox.Session) -> None:
    """Test timm backbones and the recipe for torchvision: timm needs torchvision, which needs a guard on CPUs."""
    packages = ("-e", "packages/mot-core[train,timm]", "-e", "packages/em-kalman", "-e", "packages/unitrack-loss")
    _install(session, *packages, "torchvision", "tools/torchvision-op-guard", "pytest")
    session.run("pytest", "tests/timm", *session.posargs, env=QUIET | {"MOT_TIMM": "1"})


@nox.session(reuse_venv=True, default=False)
def tests_transformers(session: nox.Session) -> None:
    """Test what needs transformers: depth maps from a depth model, adapters and recipes on its Deformable DETR."""
    packages = ("-e", "packages/mot-core[train]", "-e", "packages/fdta-adapters[depth]", "-e", "packages/unitrack-loss")
    _install(session, *packages, "pytest")
    session.run("pytest", "tests/transformers", *session.posargs, env=QUIET | {"MOT_TRANSFORMERS": "1"})


@nox.session(reuse_venv=True, default=False)
def tests_detectors(session: nox.Session) -> None:
    """Test detectors in ONNX files, and the exchange with supervision."""
    _install(session, "-e", "packages/mot-core[video,onnx]", "onnx", "supervision", "pytest")
    session.run("pytest", "tests/mot_core/detectors", *session.posargs, env=QUIET)


@nox.session(reuse_venv=True, default=False)
def tests_wandb(session: nox.Session) -> None:
    """Test logging to W&B, offline, and the sweep files with the package that W&B's server samples with."""
    heavy = {"mot-core": ["plot", "train", "tune", "video", "wandb"]}
    editable = [f"packages/{name}[{','.join(heavy.get(name, ['train']))}]" for name in PROJECTS]
    _install(session, *(part for package in editable for part in ("-e", package)), "sweeps", "pytest")
    session.run("pytest", "tests/wandb_offline", *session.posargs, env=QUIET | {"MOT_WANDB": "1"})


@nox.session(reuse_venv=True)
def kernels(session: nox.Session) -> None:
    """Test the GPU kernels without a GPU: in Triton's interpreter, and compiled ahead of time for three GPUs.

    `nox -s kernels -- record` regenerates tests/kernels/resources.json. On a machine with a GPU, run the tests on it:
    `MOT_CORE_KERNELS=triton pytest tests/kernels`.
    """
    _install(session, "-e", "packages/mot-core[train,triton]", "pytest")
    env = QUIET | {"MOT_CORE_KERNELS": "triton", "TRITON_CACHE_DIR": session.create_tmp()}
    if session.posargs == ["record"]:
        session.run("python", "tests/kernels/test_ahead_of_time.py", env=env)
        return
    # Two processes, because a kernel is either interpreted or compiled, decided on import.
    session.run("pytest", "tests/kernels", *session.posargs, env=env | {"TRITON_INTERPRET": "1"})
    session.run("pytest", "tests/kernels/test_ahead_of_time.py", env=env | {"CUDA_VISIBLE_DEVICES": ""})


@nox.session(reuse_venv=True, default=False)
def fuzz(session: nox.Session) -> None:
    """Search for faults with random input for ten minutes: `nox -s fuzz -- --minutes 60 --jobs 2`, `-- --help`."""
    editable = [f"packages/{name}[{','.join(extras)}]" for name, extras in EXTRAS.items()]
    _install(session, *(part for package in editable for part in ("-e", package)), *GROUPS["fuzz"])
    session.run(
        "python", "-m", "fuzz", *session.posargs, env=QUIET | {"PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}
    )


@nox.session(reuse_venv=True)
def docs(session: nox.Session) -> None:
    """Build the documentation into site/; `nox -s docs -- serve` previews it."""
    _install(session, *GROUPS["docs"])
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]), env={"NO_MKDOCS_2_WARNING": "1"})


def _install(session: nox.Session, *what: str) -> None:
    """Install with constraints.txt and the wheels of PIP_FIND_LINKS, with uv or pip."""
    env = {}
    if session.venv_backend == "uv" and (links := os.environ.get("PIP_FIND_LINKS")):
        env["UV_FIND_LINKS"] = ",".join(links.split())  # uv does not read pip's settings, and splits at commas
    session.install("-c", "constraints.txt", *what, env=env)


def _run_in_dev(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the environment that `dev` built."""
    scripts = ROOT / ".nox" / "dev" / ("Scripts" if os.name == "nt" else "bin")
    env = {**QUIET, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(scripts.parent)}
    session.run(str(scripts / program), *arguments, env=env, external=True)


def _wheel(package: str, extra: str = "") -> str:
    (path,) = WHEELS.glob(f"{package.replace('-', '_')}-*.whl")
    return f"{package}[{extra}] @ {path.as_uri()}" if extra else f"{package} @ {path.as_uri()}"


def _siblings(package: str, extra: str = "") -> set[str]:
    """The packages of this repository that a package depends on; they are on no index."""
    project: dict[str, Any] = PROJECTS[package]
    requirements = [*project["dependencies"], *project.get("optional-dependencies", {}).get(extra, [])]
    named = {Requirement(requirement).name for requirement in requirements} & set(PROJECTS) - {package}
    return named.union(*map(_siblings, named))
