"""Whether an artifact computes the same network as its checkpoint."""
