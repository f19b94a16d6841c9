"""Published classes that search for a network."""
