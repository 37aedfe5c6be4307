"""Online tracking with a learned association; import the public names from `em_kalman`."""
