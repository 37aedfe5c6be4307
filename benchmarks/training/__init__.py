"""Training of the small trackers: learning runs, cost of a step, data loading."""
