"""Motion noise learned from confident associations. Import the names from `em_kalman`."""
