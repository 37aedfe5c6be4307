"""Small trackers and detectors, and clips to train them on."""
