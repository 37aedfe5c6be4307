"""MeMOTR (Gao and Wang, ICCV 2023): track queries with a long-term memory."""

from mot_core.trackers.memotr.released_weights import load_memotr as load_memotr
from mot_core.trackers.memotr.tracker import MeMOTR as MeMOTR
