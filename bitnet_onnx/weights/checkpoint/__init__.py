"""Checkpoints as folders of safetensors, on this disk or on the Hugging Face Hub."""
