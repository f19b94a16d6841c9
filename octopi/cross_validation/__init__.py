"""Train all folds and combine them into one ensemble."""
