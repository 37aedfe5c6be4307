"""SGLA on boxes and motion as the cost of trackers that take detections; import the public names from `lamotr`."""
