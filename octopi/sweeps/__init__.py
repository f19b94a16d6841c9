"""Several trainings that belong together: folds, and later searches."""
