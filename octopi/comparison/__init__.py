"""Compare methods by paired trainings, scored out of fold."""
