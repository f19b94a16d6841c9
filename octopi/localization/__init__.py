"""From score maps to picks: what a localizer finds is a point with a score for each particle."""
