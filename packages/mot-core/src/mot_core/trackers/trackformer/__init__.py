"""TrackFormer (Meinhardt et al., CVPR 2022): output embeddings as track queries of the next frame."""

from mot_core.trackers.trackformer.released_weights import load_trackformer as load_trackformer
from mot_core.trackers.trackformer.tracker import TrackFormer as TrackFormer
