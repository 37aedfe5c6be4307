"""Quiet Lightning: no informational output, and its exits as exceptions."""

from __future__ import annotations

import logging
import signal
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mot_core.cli.fit.errors import SMALLER, first_reason
from mot_core.extras import needs

with needs("lightning", "train", "training"):
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.trainer.connectors import checkpoint_connector

LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)
WARNINGS = (
    r".*does not have many workers",
    r".*smaller than the logging interval",
    r".*The dirpath has changed",
    r".*Experiment logs directory .* exists and is not empty",  # W&B writes to the new folder of the run first
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
        except MemoryError as error:
            raise ValueError(f"out of memory; {SMALLER}") from error
        except torch.OutOfMemoryError as error:
            reason = str(error).partition(". ")[0]
            raise ValueError(f"{reason}; {SMALLER}") from error
        except RuntimeError as error:
            if "within local rank has zero length" in str(error):
                raise ValueError(
                    "data: expected at least one sequence per process, got fewer sequences than processes; "
                    "use fewer devices"
                ) from error
            if "DefaultCPUAllocator" in str(error):
                raise ValueError(first_reason(str(error))) from error
            if str(error).startswith("Error(s) in loading state_dict"):
                raise ValueError(_mismatch(str(error))) from error
            if _restores_checkpoint(error):
                raise ValueError(_unusable(error)) from error
            raise
        except OSError:
            raise
        except Exception as error:
            # Lightning assumes that a checkpoint has the expected structure and raises anything if it does not.
            if not _restores_checkpoint(error) or isinstance(error, ValueError):
                raise
            raise ValueError(_unusable(error)) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            signal.signal(signal.SIGINT, handler)  # Lightning leaves SIGINT ignored after an interruption


def _restores_checkpoint(error: BaseException) -> bool:
    """Return whether an error was raised while Lightning restored the state in a checkpoint."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__") == checkpoint_connector.__name__ for frame, _ in frames)


def _unusable(error: Exception) -> str:
    """Return a sentence about an error of :func:`_restores_checkpoint`.

    >>> _unusable(KeyError("loops"))
    "--ckpt_path: expected a checkpoint of this model and version, got one that cannot be restored (KeyError: 'loops')"
    """
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return f"--ckpt_path: expected a checkpoint of this model and version, got one that cannot be restored ({reason})"


def _mismatch(message: str) -> str:
    r"""Summarize a state_dict error by its first mismatch.

    >>> _mismatch("Error(s) in loading state_dict for MOTR:\n\tsize mismatch for a.b: 3, 4.\n\tMissing key(s): c")
    'the checkpoint does not match the model: size mismatch for a.b: 3, 4. (and 1 more)'
    """
    first, *others = [" ".join(line.split()) for line in message.splitlines()[1:] if line.strip()] or [message]
    more = f" (and {len(others)} more)" if others else ""
    return f"the checkpoint does not match the model: {first[:300]}{more}"
