"""MOTR (Zeng et al., ECCV 2022): track queries that carry identities from frame to frame."""

from mot_core.trackers.motr.released_weights import load_motr as load_motr
from mot_core.trackers.motr.tracker import MOTR as MOTR
