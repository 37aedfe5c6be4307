"""Association transformer on boxes, trained with and without the UniTrack loss; see README.md."""
