"""Predict score maps of tomograms with one or more networks."""
