"""A transformer that learns who is who from boxes alone, with and without the UniTrack loss; see README.md."""
