"""Scripts that tests run in two processes, and their launcher."""
