"""GTR (Zhou et al., CVPR 2022): a center detector, and association of all boxes of a window of frames at once."""

from mot_core.trackers.gtr.tracker import GTR as GTR
