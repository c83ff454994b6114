"""Text to ids and back, chat templates, and text that comes in pieces."""
