"""Verify that an artifact computes the same network as its checkpoint."""
