"""The command `mot lamotr`."""
