"""Configs that come with mot-core: ``--config motip_dancetrack`` finds them by name."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[1] / "configs"
FLAGS = ("--config", "-c")


def shipped_configs() -> dict[str, Path]:
    """The configs that come with mot-core, by name.

    >>> "motip_dancetrack" in shipped_configs()
    True
    """
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find_config(name: str) -> Path:
    """The config file ``name``: a path, or else one that comes with mot-core, with or without ".yaml".

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not YAML, or holds something else than settings.

    >>> find_config("motip_dancetrack").name
    'motip_dancetrack.yaml'
    """
    if Path(name).is_file():
        _check_yaml(Path(name))
        return Path(name)
    shipped = shipped_configs()
    stem = name.removesuffix(".yaml")
    if stem in shipped:
        return shipped[stem]
    close = get_close_matches(stem, shipped)
    hint = f"did you mean {close[0]}?" if close else f"with mot-core come {', '.join(shipped)}"
    raise FileNotFoundError(f"there is no config {name}, neither as a file nor with mot-core; {hint}")


def find_configs(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the path of every config instead of its name.

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
            found.append(argument)
    return found


def _check_yaml(path: Path) -> None:
    """Named here with file and line; jsonargparse names neither."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold settings, as 'trainer: ...', got {type(content).__name__}")
