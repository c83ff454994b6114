"""Checkpoints as GGUF files."""
