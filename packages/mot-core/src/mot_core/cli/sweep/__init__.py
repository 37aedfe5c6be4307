"""The command `mot sweep`."""
