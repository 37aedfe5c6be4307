"""Writing and reading of the checkpoints of the Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mot_core.checkpoints import read_checkpoint
from mot_core.checkpoints.file import LIGHTNING, read_file
from mot_core.extras import needs
from mot_core.io.atomic import save_atomic

with needs("lightning", "train", "training"):
    from lightning.fabric.plugins.io import CheckpointIO, TorchCheckpointIO

TRAINING_STATE = ("optimizer_states", "lr_schedulers", "loops")


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoint files that are complete at any time, even if the process is killed, and verified when they are read.

    Lightning writes to the temporary folder and copies from there if that is another file system, which truncates the
    previous checkpoint first.

    Args:
        ckpt_path: The file of ``--ckpt_path``.
        resume: Whether it is read to resume training, which needs the state of the optimizer.
    """

    def __init__(self, ckpt_path: str | None = None, *, resume: bool = False) -> None:
        self.ckpt_path = ckpt_path
        self.required = ("state_dict", LIGHTNING, *(TRAINING_STATE if resume else ()))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write next to ``path`` and rename."""
        save_atomic(checkpoint, path)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> Any:
        """Read a file to the CPU without running any code in it; Lightning copies the values to their device."""
        if str(path) == self.ckpt_path:
            return read_checkpoint(path, *self.required)
        return read_file(path)  # weights that the process of a strategy such as ddp_spawn returns


def with_checkpoint_files(plugins: Any, files: CheckpointFiles) -> Any:
    """Add ``files`` to the plugins of a Trainer, unless the user chose another way to store checkpoints."""
    given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
    return given if any(isinstance(one, CheckpointIO) for one in given) else [*given, files]
