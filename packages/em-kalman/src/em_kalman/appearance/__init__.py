"""Appearance features distilled from motion; import the public names from `em_kalman`."""
