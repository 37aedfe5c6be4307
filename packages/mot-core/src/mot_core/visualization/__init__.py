"""Pictures of tracks: videos and sheets of frames where frames exist, otherwise trajectories in space and time.

Needs the extras ``[plot]`` and ``[video]``; they are imported when a picture is made, not before.
"""

from mot_core.visualization.colors import identity_color as identity_color
from mot_core.visualization.drawing import draw_tracks as draw_tracks
from mot_core.visualization.sheet import save_sheet as save_sheet
from mot_core.visualization.trajectories import save_trajectories as save_trajectories
from mot_core.visualization.video import save_video as save_video
from mot_core.visualization.video import write_video as write_video
