"""Online tracking with a learned association. Import the names from `em_kalman`."""
