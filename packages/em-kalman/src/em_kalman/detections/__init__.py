"""Detection files, windows of detections, and the sampler that draws them. Import the names from `em_kalman`."""
