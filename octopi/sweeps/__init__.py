"""Several trainings that belong together: a grid of them, or the trials of a search."""
