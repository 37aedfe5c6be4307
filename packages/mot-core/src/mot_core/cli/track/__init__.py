"""The command `mot track`."""
