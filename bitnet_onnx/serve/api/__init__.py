"""The endpoints of the OpenAI-compatible server."""
