"""GraniteMoe networks of transformers and their GGUF files."""
