"""Association with access to all frames, after online tracking."""

from mot_core.association.offline.interpolation import interpolate_tracks as interpolate_tracks
from mot_core.association.offline.link_gain import KalmanLinkGain as KalmanLinkGain
from mot_core.association.offline.link_gain import LinkCandidates as LinkCandidates
from mot_core.association.offline.link_gain import LinkGain as LinkGain
from mot_core.association.offline.linking import link_tracks as link_tracks
