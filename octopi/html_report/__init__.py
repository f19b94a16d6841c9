"""Render picks, scores and truth of a project as one HTML page that loads nothing."""
