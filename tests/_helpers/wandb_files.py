"""Reader of the file of an offline W&B run, because wandb 0.31 has none."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

BLOCK = 32768
HEADER = 7  # of the file, and of every chunk: checksum, length, type
ENDS = (1, 4)  # types of the chunks that end a record


def records(path: Path) -> Iterator[bytes]:
    """Yield the serialized records of a LevelDB log: chunks in blocks of 32 KiB, of which records may span several."""
    data = path.read_bytes()
    if data[:4] != b":W&B":
        raise ValueError(f"{path}: expected the file of a W&B run, got one that starts with {data[:4]!r}")
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in ENDS:
            yield parts
            parts = b""


def read_run(path: Path) -> SimpleNamespace:
    """Return project, config, history, names of the files and exit code of a run."""
    from wandb.proto.wandb_internal_pb2 import Record

    run = SimpleNamespace(project="", config={}, history=[], files=[], exit_code=None)
    for data in records(path):
        record = Record.FromString(data)
        run.project = record.run.project or run.project
        for update in (*record.run.config.update, *record.config.update):
            run.config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if record.history.item:
            items = record.history.item
            run.history.append({".".join(one.nested_key) or one.key: json.loads(one.value_json) for one in items})
        run.files += [one.path for one in record.files.files]
        if record.HasField("exit"):
            run.exit_code = record.exit.exit_code
    return run
