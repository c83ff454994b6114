"""Checkpoints as folders of safetensors, on disk or on the Hugging Face Hub."""
