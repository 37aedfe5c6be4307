"""Lightning without its chatter, and its ways to end as those of ``mot``."""

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
    r".*on epoch level in distributed setting",  # the scores are already those of all processes
    r".*LeafSpec.* is deprecated",
    r"(?s).*(JSONARGPARSE_DEPRECATION_WARNINGS|was deprecated in v4)",  # of jsonargparse: Lightning does it too
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Only what tells something is told, as errors that :func:`mot_core.cli.main` makes sentences of."""
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
            if isinstance(exit_.__context__, KeyboardInterrupt):  # Lightning makes that of it
                raise exit_.__context__ from None
            raise
        except MisconfigurationException as error:
            raise ValueError(" ".join(str(error).split())) from error
        except torch.OutOfMemoryError as error:
            reason = str(error).partition(". ")[0]
            raise ValueError(
                f"{reason}; smaller images, shorter clips, a smaller batch or --model.checkpointing true need less"
            ) from error
        except RuntimeError as error:
            if "within local rank has zero length" in str(error):
                raise ValueError(
                    "there are fewer sequences than processes, and each process takes whole ones: use fewer devices"
                ) from error
            if not str(error).startswith("Error(s) in loading state_dict"):
                raise
            raise ValueError(_misfit(str(error))) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            signal.signal(signal.SIGINT, handler)  # after an interruption Lightning leaves it ignored


def _misfit(message: str) -> str:
    r"""The first of many keys that do not fit.

    >>> _misfit("Error(s) in loading state_dict for MOTR:\n\tsize mismatch for a.b: 3, 4.\n\tMissing key(s): c")
    'the checkpoint does not fit the model: size mismatch for a.b: 3, 4. (and 1 more)'
    """
    first, *others = [" ".join(line.split()) for line in message.splitlines()[1:] if line.strip()] or [message]
    more = f" (and {len(others)} more)" if others else ""
    return f"the checkpoint does not fit the model: {first[:300]}{more}"
