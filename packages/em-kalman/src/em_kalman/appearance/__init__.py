"""Appearance features distilled from motion. Import the names from `em_kalman`."""
