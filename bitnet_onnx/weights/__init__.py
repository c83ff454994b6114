"""The number format, and published checkpoints: read, converted, made at random."""
