"""Serve artifacts to others: the page for browsers, and the OpenAI-compatible server."""
