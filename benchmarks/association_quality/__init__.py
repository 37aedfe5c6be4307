"""Quality of association on real sequences: our trackers and those that can be installed."""
