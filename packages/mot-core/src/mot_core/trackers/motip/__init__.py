"""MOTIP (Gao et al., CVPR 2025): identities as words that a decoder predicts from track histories."""

from mot_core.trackers.motip.released_weights import load_motip as load_motip
from mot_core.trackers.motip.tracker import MOTIP as MOTIP
