"""The UniTrack loss: effect on trackers and on a learned association, cost."""
