"""LA-MOTR as a trainable tracker, and the callback that adds its association to others; requires ``[train]``."""

from lamotr.lightning.callback import LAMOTRCallback
from lamotr.lightning.tracker import LAMOTR

__all__ = ["LAMOTR", "LAMOTRCallback"]
