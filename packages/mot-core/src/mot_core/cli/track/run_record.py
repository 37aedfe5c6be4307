"""``run.yaml``: record of a `mot track` run, saved next to the results."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mot_core.cli.parser import version
from mot_core.cli.track.job import Job
from mot_core.cli.track.offline import offline_settings
from mot_core.io import open_atomic


def write_record(
    arguments: argparse.Namespace, settings: Mapping[str, Any], source: Mapping[str, Any], jobs: Sequence[Job]
) -> None:
    """Write ``run.yaml`` with everything needed to repeat the run: input, version and all parameters.

    Args:
        arguments: Parsed command-line arguments.
        settings: Tracker parameters given by the user.
        source: Additional entries: the origin of the other parameters.
        jobs: Finished sequences.
    """
    import yaml

    parameters = {job.sequence.name: dict(to_plain_data(job.parameters())) for job in jobs}
    shared = parameters[jobs[0].sequence.name]
    sequences = {}
    for job in jobs:
        name, numbers = job.sequence.name, job.sequence.frame_numbers()
        sequences[name] = {
            "benchmark": job.sequence.benchmark,
            "frames": f"{numbers[0]}-{numbers[-1]}",
            **to_plain_data(job.details()),
            # A preset may set some parameters per sequence.
            **{key: value for key, value in parameters[name].items() if value != shared.get(key)},
        }
    record = {
        "mot_core": version(),
        "source": re.sub(r"(?<=://)[^/@]*@", "", str(arguments.source)),  # without user name and password
        "tracker": arguments.tracker,
        **to_plain_data(source),
        "given": to_plain_data(settings),
        "parameters": shared,
        **({"offline": offline} if (offline := offline_settings(arguments)) else {}),
        "sequences": sequences,
    }
    with open_atomic(arguments.output / "run.yaml") as file:
        yaml.safe_dump(record, file, sort_keys=False, width=110, default_flow_style=None)


def to_plain_data(value: Any) -> Any:
    """Convert ``value`` to types that YAML supports; functions become their full name.

    >>> to_plain_data({"cost": len, "ages": (1, 2)})
    {'cost': 'builtins.len', 'ages': [1, 2]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain_data(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain_data(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain_data(member) for member in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)
