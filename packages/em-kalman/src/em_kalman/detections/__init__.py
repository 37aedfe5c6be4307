"""Detection files, windows of detections and their sampler; import the public names from `em_kalman`."""
