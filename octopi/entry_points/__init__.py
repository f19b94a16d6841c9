"""Published functions that prepare data."""
