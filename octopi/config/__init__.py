"""From Hydra's config to checked settings and built objects."""
