"""FairMOT (Zhang et al., IJCV 2021): detection and identity embeddings by one network."""

from mot_core.trackers.fairmot.tracker import FairMOT as FairMOT
