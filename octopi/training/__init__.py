"""From batches and a network to a trained, validated network."""
