"""``mot env``: versions, devices and installed packages, for bug reports."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform

EPILOG = """\
examples:
  mot env
  mot env > environment.txt
"""
# Packages whose version decides whether a problem can be repeated; the others follow from them.
PACKAGES = (
    "torch", "triton", "lightning", "torchmetrics", "jsonargparse", "numpy", "scipy", "pillow", "opencv-python",
    "opencv-python-headless", "trackeval", "pycocotools", "timm", "transformers", "optuna", "wandb",
)  # fmt: skip


def configure(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Declare the arguments of ``mot env``."""
    parser.epilog = EPILOG
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one ``name: value`` per line."""
    for name, value in environment().items():
        print(f"{name}: {value}")
    return 0


def environment() -> dict[str, str]:
    """Return versions of the system, of our packages and of those they need, devices, trackers and plug-ins.

    >>> environment()["mot-core"]
    '0.1.0'
    """
    from mot_core.association.registry import installed_trackers
    from mot_core.plugins import installed_plugins

    points = [*installed_trackers().values(), *importlib.metadata.entry_points(group="mot_core.commands")]
    plugins = installed_plugins()
    ours = {"mot-core", *(point.dist.name for point in points if point.dist), *(one.package for one in plugins)}
    found = {name: version for name in (*sorted(ours), *PACKAGES) if (version := _version(name))}
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **found,
        "processors": str(os.cpu_count()),
        "devices": ", ".join(_devices()),
        "trackers": ", ".join(installed_trackers()),
        "plug-ins": ", ".join(one.name for one in plugins) or "none",
        **{name: os.environ[name] for name in sorted(os.environ) if name.startswith("MOT_")},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """Return the names of all devices that PyTorch can use."""
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += [
            f"cuda:{index} {torch.cuda.get_device_name(index)} (CUDA {torch.version.cuda})"
            for index in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
