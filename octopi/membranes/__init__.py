"""Picks beside a membrane or organelle: distances, normals, sides and pairs. No copick."""
