"""Association with access to all frames, after online tracking."""

from mot_core.association.offline.interpolation import interpolate_tracks as interpolate_tracks
