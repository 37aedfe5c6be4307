"""Quiet Lightning: suppressed output, translated errors and restored state."""

from __future__ import annotations

import logging
import signal
import sys
import warnings

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from mot_core.cli.fit.quiet import LOGGERS, quiet_lightning


def state():
    levels = [logging.getLogger(name).level for name in LOGGERS]
    return levels, signal.getsignal(signal.SIGINT), list(warnings.filters)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MisconfigurationException("No  GPU\n here"), "^No GPU here$"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "^CUDA out of memory; use a smaller model"),
        (MemoryError(), "^out of memory; use a smaller model"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
            r"^out of memory \(99 bytes\); use a smaller model",
        ),
        (RuntimeError("Error(s) in loading state_dict for A:\n\tMissing a\n\tMissing b"), r"Missing a \(and 1 more\)$"),
        (RuntimeError("`DataLoader` within local rank has zero length."), "fewer sequences than processes"),
    ],
)
def test_errors_become_value_errors(error, sentence):
    before = state()
    with pytest.raises(ValueError, match=sentence), quiet_lightning():
        raise error
    assert state() == before


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("x"), SystemExit(2)])
def test_other_errors_are_unchanged(error):
    with pytest.raises(type(error)) as caught, quiet_lightning():
        raise error
    assert caught.value is error


def interrupt_as_lightning_does():
    try:
        raise KeyboardInterrupt("saved")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)


def test_interruptions_are_unchanged():
    before = state()
    with pytest.raises(KeyboardInterrupt, match="saved"), quiet_lightning():
        interrupt_as_lightning_does()
    assert state() == before


def test_only_known_warnings_are_suppressed():
    with quiet_lightning():
        warnings.warn("The 'train_dataloader' does not have many workers", stacklevel=1)
        assert not logging.getLogger(LOGGERS[0]).isEnabledFor(logging.INFO)
        with pytest.warns(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)
