"""Motion models and noise learned from confident associations; import the public names from `em_kalman`."""
