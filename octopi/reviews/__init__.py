"""Choose what a person should look at, show it as one HTML page, and apply what was decided."""
