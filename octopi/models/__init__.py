"""Networks, their properties, and checkpoints."""
