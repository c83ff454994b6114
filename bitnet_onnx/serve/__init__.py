"""Artifacts served to others: the page for browsers."""
