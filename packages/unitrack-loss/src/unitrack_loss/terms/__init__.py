"""Terms of the UniTrack loss, combined in :func:`unitrack_loss.unitrack_loss`."""
