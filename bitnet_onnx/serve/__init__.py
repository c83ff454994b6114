"""Serve artifacts to others: the page for browsers."""
