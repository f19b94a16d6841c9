"""From score maps to picks: a localizer returns a point with a score for each particle."""
