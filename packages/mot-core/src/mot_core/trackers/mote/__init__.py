"""MOTE (Galoaa et al., ICML 2025): MOTR with optical flow and enhanced track embeddings."""

from mot_core.trackers.mote.tracker import MOTE as MOTE
