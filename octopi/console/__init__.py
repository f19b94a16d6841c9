"""The console script, shell completion and the copick plugin."""
