"""Run a command from the command line or from Python."""
