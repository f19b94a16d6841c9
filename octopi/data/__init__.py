"""Data: copick runs become training batches and validation volumes."""
