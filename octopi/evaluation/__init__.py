"""From picks and truth to counts, scores and thresholds."""
