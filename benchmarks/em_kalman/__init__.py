"""EM-Kalman: trackers trained without labels, learned motion, cost."""
