"""The number format, and published checkpoints: read, converted or made at random."""
