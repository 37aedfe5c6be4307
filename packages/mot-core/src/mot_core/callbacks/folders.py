"""Output folder of callbacks."""

from __future__ import annotations

from pathlib import Path

from lightning import Trainer


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of a run, as chosen by Lightning's checkpoints; must be called by all processes.

    >>> run_folder(Trainer(accelerator="cpu", logger=False, default_root_dir="runs")).name
    'runs'
    """
    logger = trainer.logger
    with_folder = [one.log_dir for one in trainer.loggers if one.log_dir is not None]
    if logger is None:
        folder = Path(trainer.default_root_dir)
    elif with_folder:
        folder = Path(with_folder[0])
    else:  # for example W&B alone
        folder = Path(logger.save_dir or trainer.default_root_dir, str(logger.name), str(logger.version))
    return Path(trainer.strategy.broadcast(str(folder)))
