"""Pictures of tracks: videos and sheets of frames if there are images, otherwise trajectories in space and time.

Needs the extras ``[plot]`` and ``[video]``, which are imported only when a picture is made.
"""

from mot_core.visualization.colors import identity_color as identity_color
from mot_core.visualization.drawing import draw_tracks as draw_tracks
from mot_core.visualization.sheet import save_sheet as save_sheet
from mot_core.visualization.trajectories import save_trajectories as save_trajectories
from mot_core.visualization.video import save_video as save_video
from mot_core.visualization.video import write_video as write_video
