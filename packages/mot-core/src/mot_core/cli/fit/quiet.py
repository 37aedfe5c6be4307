"""Quiet Lightning: no informational output, and its exits as exceptions."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mot_core.extras import needs

with needs("lightning", "train", "training"):
    from lightning.fabric.utilities.exceptions import MisconfigurationException

LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)
WARNINGS = (
    r".*does not have many workers",
    r".*smaller than the logging interval",
    r".*The dirpath has changed",
    r".*on epoch level in distributed setting",  # the scores are already reduced over all processes
    r".*LeafSpec.* is deprecated",
    r"(?s).*(JSONARGPARSE_DEPRECATION_WARNINGS|was deprecated in v4)",  # from jsonargparse, caused by Lightning itself
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress Lightning's informational output and turn its exits into ValueError."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    handler = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        for pattern in WARNINGS:
            warnings.filterwarnings("ignore", pattern)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        except SystemExit as exit_:
            if isinstance(exit_.__context__, KeyboardInterrupt):  # Lightning turns an interruption into an exit
                raise exit_.__context__ from None
            raise
        except MisconfigurationException as error:
            raise ValueError(" ".join(str(error).split())) from error
        except torch.OutOfMemoryError as error:
            reason = str(error).partition(". ")[0]
            raise ValueError(
                f"{reason}; use smaller images, shorter clips, a smaller batch or --model.checkpointing true"
            ) from error
        except RuntimeError as error:
            if "within local rank has zero length" in str(error):
                raise ValueError(
                    "data: expected at least one sequence per process, got fewer sequences than processes; "
                    "use fewer devices"
                ) from error
            if not str(error).startswith("Error(s) in loading state_dict"):
                raise
            raise ValueError(_mismatch(str(error))) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            signal.signal(signal.SIGINT, handler)  # Lightning leaves SIGINT ignored after an interruption


def _mismatch(message: str) -> str:
    r"""Summarize a state_dict error by its first mismatch.

    >>> _mismatch("Error(s) in loading state_dict for MOTR:\n\tsize mismatch for a.b: 3, 4.\n\tMissing key(s): c")
    'the checkpoint does not match the model: size mismatch for a.b: 3, 4. (and 1 more)'
    """
    first, *others = [" ".join(line.split()) for line in message.splitlines()[1:] if line.strip()] or [message]
    more = f" (and {len(others)} more)" if others else ""
    return f"the checkpoint does not match the model: {first[:300]}{more}"
