"""Lookup by name of the configs shipped with mot-core and installed plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mot_core.association.registry import installed_trackers
from mot_core.io.documents import read_yaml
from mot_core.plugins import installed_plugins
from mot_core.suggestions import suggest_name

PACKAGE = Path(__file__).parents[2]
FLAGS = ("--config", "-c")


def shipped_configs(kind: str = "configs") -> dict[str, Path]:
    """Return the YAML files that ship with mot-core and with installed plug-ins, by name.

    A package keeps them in a folder ``configs`` or ``sweeps``. If two packages use one name, mot-core's file wins.

    Args:
        kind: ``"configs"`` for `mot fit`, ``"sweeps"`` for `mot sweep`.

    >>> "motip_dancetrack" in shipped_configs(), "motip_synthetic" in shipped_configs("sweeps")
    (True, True)
    """
    found = {path.stem: path for package in [*_method_packages(), PACKAGE] for path in (package / kind).glob("*.yaml")}
    return dict(sorted(found.items()))


def find_config(name: str, kind: str = "configs") -> Path:
    """Return the file ``name``: a path, or else a shipped file, with or without ".yaml".

    Args:
        name: Path of a YAML file, or the name of a shipped one.
        kind: ``"configs"`` or ``"sweeps"``.

    Raises:
        FileNotFoundError: If no such file exists.
        ValueError: If the file is not YAML, or does not hold a mapping.

    >>> find_config("motip_dancetrack").name
    'motip_dancetrack.yaml'
    """
    if Path(name).is_file():
        _check_yaml(Path(name))
        return Path(name)
    shipped = shipped_configs(kind)
    stem = name.removesuffix(".yaml")
    if stem in shipped:
        return shipped[stem]
    hint = suggest_name(stem, shipped, "see mot configs; available")
    raise FileNotFoundError(f"{kind[:-1]} {name}: expected a YAML file or the name of a shipped one; {hint}")


def find_configs(arguments: Sequence[str]) -> list[str]:
    """Replace the name of every config in ``arguments`` by its path, and check all YAML files among the arguments.

    >>> found = find_configs(["--config", "motip_dancetrack", "--trainer.max_epochs", "1"])
    >>> Path(found[1]).is_file()
    True
    """
    found: list[str] = []
    for argument in arguments:
        flag, equals, name = argument.partition("=")
        if found and found[-1] in FLAGS:
            found.append(str(find_config(argument)))
        elif equals and flag in FLAGS:
            found += [flag, str(find_config(name))]
        else:
            value = Path(name if equals else argument)
            if value.suffix in (".yaml", ".yml") and value.is_file():
                read_yaml(value)
            found.append(argument)
    return found


def _method_packages() -> list[Path]:
    """Return the folders of all packages with plug-ins or trackers, without importing them."""
    # A plug-in under development may be a file instead of a module.
    modules = {plugin.target.partition(":")[0] for plugin in installed_plugins() if ".py:" not in plugin.target}
    modules |= {point.module for point in installed_trackers().values()}
    specs = [find_spec(package) for package in sorted({module.partition(".")[0] for module in modules})]
    return [Path(folder) for spec in specs if spec for folder in spec.submodule_search_locations or ()]


def _check_yaml(path: Path) -> None:
    """Check syntax and type of a YAML file, because errors of jsonargparse lack file and line."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping such as 'trainer: ...', got {type(content).__name__}")
